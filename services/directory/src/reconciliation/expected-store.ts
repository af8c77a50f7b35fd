/** What LDAP should say by the record of all three services: every query, page by page. The others' parts come from their views. */
import type { Connection } from '@congvu/database';
import { type EntrySource, listEntrySources } from '../accounts/convergence-store.ts';

export interface ExpectedEntry {
  source: EntrySource;
  /** Undefined while there is no mailbox. */
  mail: { mail: string; mail_status: string; mail_quota_bytes: string } | undefined;
  /** Valid ones; those that ran out a moment ago may still be there. */
  certificates: readonly { fingerprint: string; expired: boolean }[];
}

const noCertificates: ExpectedEntry['certificates'] = [];

/** By account id; ids that are no account's are not in it. */
export async function listExpected(
  connection: Connection,
  ids: readonly string[],
): Promise<Map<string, ExpectedEntry>> {
  const [sources, mail, certificates] = await Promise.all([
    listEntrySources(connection, ids),
    connection
      .raw<{ rows: (NonNullable<ExpectedEntry['mail']> & { account_id: string })[] }>(
        'select account_id, mail, mail_status, mail_quota_bytes from mailbox.mail_attributes_v where account_id = any(?::uuid[])',
        [[...ids]],
      )
      .then(({ rows }) => new Map(rows.map((row) => [row.account_id, row]))),
    listCertificates(connection, ids),
  ]);
  return new Map(
    sources.map((source) => [
      source.id,
      { source, mail: mail.get(source.id), certificates: certificates.get(source.id) ?? noCertificates },
    ]),
  );
}

async function listCertificates(connection: Connection, ids: readonly string[]) {
  const { rows } = await connection.raw<{
    rows: { account_id: string; fingerprint_sha256: string; expired: boolean }[];
  }>(
    `select account_id, fingerprint_sha256, not_after <= now() as expired from certificate.published_certificates_v
     where account_id = any(?::uuid[]) and not_after > now() - interval '3 hours'`,
    [[...ids]],
  );
  const certificates = new Map<string, { fingerprint: string; expired: boolean }[]>();
  for (const { account_id, fingerprint_sha256, expired } of rows) {
    const one = { fingerprint: fingerprint_sha256, expired };
    const others = certificates.get(account_id);
    if (others) others.push(one);
    else certificates.set(account_id, [one]);
  }
  return certificates;
}

/** Ids of accounts that have had an entry, after `after`, as octets one after another: a hundred thousand are 1.6 MB. */
export async function listEnteredIds(connection: Connection, after: string, limit: number): Promise<Buffer> {
  const { rows } = await connection.raw<{ rows: { ids: Buffer | null }[] }>(
    `select string_agg(uuid_send(id), ''::bytea order by id) as ids from (
       select id from directory.accounts where id > ? and entry_version > 0 order by id limit ?) as page`,
    [after, limit],
  );
  return rows[0]?.ids ?? Buffer.alloc(0);
}

/** How much of the record is in LDAP, by what was written there; and all of it, for progress. */
export async function countRecord(
  connection: Connection,
): Promise<Record<'accounts' | 'enteredAccounts' | 'agencies' | 'enteredAgencies', number>> {
  const { rows } = await connection.raw<{ rows: [Awaited<ReturnType<typeof countRecord>>] }>(
    `select c.accounts, c."enteredAccounts", a.agencies, a."enteredAgencies" from
       (select count(*)::int as accounts, count(*) filter (where entry_version > 0)::int as "enteredAccounts"
        from directory.accounts) as c,
       (select count(*)::int as agencies, count(*) filter (where entry_version > 0)::int as "enteredAgencies"
        from directory.agencies) as a`,
  );
  return rows[0];
}

export interface AgencyInScope {
  id: string;
  /** Whether its entry was made and is not waiting for a change. */
  settled: boolean;
}

/** By code: the agency and all below it. */
export async function listScope(connection: Connection, agencyId: string): Promise<Map<string, AgencyInScope>> {
  const { rows } = await connection.raw<{ rows: (AgencyInScope & { code: string })[] }>(
    `select id, code, entry_version >= version as settled from directory.agencies
     where id in (select directory.agency_subtree((select code from directory.agencies where id = ?)))`,
    [agencyId],
  );
  return new Map(rows.map((row) => [row.code, row]));
}
