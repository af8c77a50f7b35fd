/** What LDAP should say by the record of all three services: every query, page by page. The others' parts come from their views. */
import type { Connection } from '@congvu/database';
import {
  type AgencyPaths,
  type EntrySource,
  listEntrySources,
  listEntrySourcesAfter,
} from '../accounts/convergence-store.ts';

export interface ExpectedEntry {
  source: EntrySource;
  /** Undefined while there is no mailbox. */
  mail: { mail: string; mail_status: string; mail_quota_bytes: string } | undefined;
  /** Further addresses of the mailbox, and where its mail goes. */
  routes: MailRoutes;
  /** Valid ones; those that ran out a moment ago may still be there. */
  certificates: readonly { fingerprint: string; expired: boolean }[];
}

export interface MailRoutes {
  aliases: readonly string[];
  forwards: readonly string[];
}

const noRoutes: MailRoutes = { aliases: [], forwards: [] };
const noCertificates: ExpectedEntry['certificates'] = [];

/** By account id; ids that are no account's are not in it. */
export async function listExpected(
  connection: Connection,
  ids: readonly string[],
): Promise<Map<string, ExpectedEntry>> {
  const which = { sql: 'account_id = any(?::uuid[])', values: [[...ids]] };
  return assemble(connection, which, await listEntrySources(connection, ids));
}

/** The next accounts by id, after `after`; by ranges, because a look-up each costs PostgreSQL several times as much. */
export async function listExpectedAfter(
  connection: Connection,
  after: string,
  limit: number,
  paths: AgencyPaths,
): Promise<Map<string, ExpectedEntry>> {
  const sources = await listEntrySourcesAfter(connection, after, limit, paths);
  const last = sources.at(-1);
  if (!last) return new Map();
  const which = { sql: 'account_id > ? and account_id <= ?', values: [after, last.id] };
  return assemble(connection, which, sources);
}

interface Which {
  sql: string;
  values: readonly (string | string[])[];
}

async function assemble(connection: Connection, which: Which, sources: readonly EntrySource[]) {
  const [mail, routes, certificates] = await Promise.all([
    listMail(connection, which),
    listRoutes(connection, which),
    listCertificates(connection, which),
  ]);
  return new Map(
    sources.map((source) => [
      source.id,
      {
        source,
        mail: mail.get(source.id),
        routes: routes.get(source.id) ?? noRoutes,
        certificates: certificates.get(source.id) ?? noCertificates,
      },
    ]),
  );
}

async function listMail(connection: Connection, which: Which) {
  const { rows } = await connection.raw<{ rows: (NonNullable<ExpectedEntry['mail']> & { account_id: string })[] }>(
    `select account_id, mail, mail_status, mail_quota_bytes from mailbox.mail_attributes_v where ${which.sql} order by account_id`,
    [...which.values],
  );
  return new Map(rows.map((row) => [row.account_id, row]));
}

/** Of the few that have any. */
async function listRoutes(connection: Connection, which: Which): Promise<Map<string, MailRoutes>> {
  const { rows } = await connection.raw<{ rows: { account_id: string; kind: string; address: string }[] }>(
    `select account_id, kind, address from mailbox.mail_routes_v where ${which.sql}`,
    [...which.values],
  );
  const routes = new Map<string, { aliases: string[]; forwards: string[] }>();
  for (const { account_id, kind, address } of rows) {
    const known = routes.get(account_id) ?? { aliases: [], forwards: [] };
    (kind === 'alias' ? known.aliases : known.forwards).push(address);
    routes.set(account_id, known);
  }
  return routes;
}

async function listCertificates(connection: Connection, which: Which) {
  const { rows } = await connection.raw<{
    rows: { account_id: string; fingerprint_sha256: string; expired: boolean }[];
  }>(
    `select account_id, fingerprint_sha256, not_after <= now() as expired from certificate.published_certificates_v
     where ${which.sql} and not_after > now() - interval '3 hours' order by account_id`,
    [...which.values],
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
