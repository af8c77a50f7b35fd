/** Every query on mailbox.domains, and what is asked of agencies and mailboxes about their domains. */
import type { MailDomain } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

/** Domains change seldom and refer to each other: one change after the other. */
export const lockDomains = (transaction: Transaction): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('mailbox.domains', 0))");

export const isOpen = '(d.until is null or d.until > directory.today())';

interface DomainRow {
  name: string;
  kind: MailDomain['kind'];
  open: boolean;
  agency_id: string | null;
  agency_code: string | null;
  target: string | null;
  until: string | null;
  mailbox_count: number;
  uses: string;
  last_used_at: Date | null;
  created_at: Date;
  version: number;
}

const domains = (connection: Connection) =>
  connection('mailbox.domains as d')
    .leftJoin('directory.agencies_v as a', 'a.id', 'd.agency_id')
    .select<DomainRow[]>(
      'd.name',
      'd.kind',
      connection.raw(`${isOpen} as open`),
      'd.agency_id',
      'a.code as agency_code',
      'd.target',
      connection.raw("to_char(d.until, 'YYYY-MM-DD') as until"),
      connection.raw(
        `(select count(*) from mailbox.mailboxes m where m.state <> 'purged' and split_part(m.address, '@', 2) = d.name)::int as mailbox_count`,
      ),
      'd.uses',
      'd.last_used_at',
      'd.created_at',
      'd.version',
    );

const toDomain = (row: DomainRow): MailDomain => ({
  name: row.name,
  kind: row.kind,
  state: row.open ? 'open' : 'closed',
  agencyCode: row.agency_code,
  target: row.target,
  until: row.until,
  mailboxCount: row.mailbox_count,
  uses: Number(row.uses),
  lastUsedAt: row.last_used_at?.toISOString() ?? null,
  createdAt: row.created_at.toISOString(),
  version: row.version,
});

/** One agency's alone is seen by those above it and by itself; all others by everybody. */
const seenBy = 'd.agency_id is null or d.agency_id in (select directory.agency_subtree(?))';

export async function requireDomain(connection: Connection, name: string, scope: string): Promise<MailDomain> {
  const [row] = await domains(connection).where('d.name', name).whereRaw(`(${seenBy})`, [scope]);
  if (row) return toDomain(row);
  throw new ServiceError({
    kind: 'not_found',
    code: 'domain_not_found',
    detail: 'There is no mail domain of that name that your agency may see.',
  });
}

export async function listDomains(
  connection: Connection,
  filter: { scope: string; kind?: string | undefined; state?: string | undefined },
  limit: number,
  after: string | undefined,
): Promise<MailDomain[]> {
  const rows = await domains(connection)
    .whereRaw(`(${seenBy})`, [filter.scope])
    .modify((query) => {
      if (filter.kind) query.where('d.kind', filter.kind);
      if (filter.state) query.whereRaw(filter.state === 'open' ? isOpen : `not ${isOpen}`);
      if (after !== undefined) query.where('d.name', '>', after);
    })
    .orderBy('d.name')
    .limit(limit + 1);
  return rows.map(toDomain);
}

export interface DomainFacts {
  name: string;
  kind: MailDomain['kind'];
  open: boolean;
  agency_id: string | null;
  target: string | null;
  until: string | null;
  version: number;
}

export const findDomain = (connection: Connection, name: string): Promise<DomainFacts | undefined> =>
  connection('mailbox.domains as d')
    .where('d.name', name)
    .first(
      'd.name',
      'd.kind',
      connection.raw(`${isOpen} as open`),
      'd.agency_id',
      'd.target',
      connection.raw("to_char(d.until, 'YYYY-MM-DD') as until"),
      'd.version',
    );

/** Those that receive mail now. */
export const listOpenDomains = (connection: Connection): Promise<Pick<DomainFacts, 'name' | 'kind' | 'target'>[]> =>
  connection('mailbox.domains as d').whereRaw(isOpen).orderBy('d.name').select('d.name', 'd.kind', 'd.target');

export const findByIdempotencyKey = (
  connection: Connection,
  createdBy: string,
  key: string,
): Promise<{ name: string; body_hash: Buffer } | undefined> =>
  connection('mailbox.domains').where({ created_by: createdBy, idempotency_key: key }).first('name', 'body_hash');

/** New, or opened again after it was closed. */
export async function openDomainRow(
  transaction: Transaction,
  domain: {
    name: string;
    kind: MailDomain['kind'];
    agency_id: string | null;
    target: string | null;
    until: string | null;
    created_by: string;
    idempotency_key: string | null;
    body_hash: Buffer | null;
  },
): Promise<void> {
  const { name: _, ...rest } = domain;
  await transaction('mailbox.domains')
    .insert(domain)
    .onConflict('name')
    .merge({ ...rest, version: transaction.raw('domains.version + 1') });
}

export const updateDomain = (
  transaction: Transaction,
  name: string,
  set: { agency_id?: string | null; target?: string; until?: string | null | ReturnType<Transaction['raw']> },
): Promise<unknown> =>
  transaction('mailbox.domains')
    .where({ name })
    .update({ ...set, version: transaction.raw('version + 1') });

/** Of `names`, those that are no open domain. */
export async function listNotOpen(connection: Connection, names: readonly string[]): Promise<string[]> {
  const open = await connection('mailbox.domains as d')
    .whereRaw(isOpen)
    .whereRaw('d.name = any(?::text[])', [[...names]])
    .pluck('d.name');
  const known = new Set<string>(open);
  return [...new Set(names)].filter((name) => !known.has(name));
}

/** Of `names`, those that are opened by this: not there before, or closed. A name that stands for another domain is left as it is. */
export async function openMissing(
  transaction: Transaction,
  kind: 'province' | 'agency',
  names: readonly string[],
): Promise<string[]> {
  const { rows } = await transaction.raw<{ rows: { name: string }[] }>(
    `insert into mailbox.domains as d (name, kind, created_by) select name, ?, 'mailbox' from unnest(?::text[]) as wanted(name)
     where not exists (select 1 from mailbox.domains d where d.name = wanted.name and (${isOpen} or d.kind = 'alias'))
     order by name
     on conflict (name) do update set until = null, version = d.version + 1 where not ${isOpen} returning name`,
    [kind, [...names]],
  );
  return rows.map((row) => row.name);
}

/** Mail domains of agencies that exist today. */
export const listAgencyDomains = (connection: Connection): Promise<string[]> =>
  connection('directory.agencies_v').where({ status: 'active' }).distinct('mail_domain').pluck('mail_domain');

/** What still needs the domain. */
export async function countUsers(
  connection: Connection,
  name: string,
): Promise<{ agencies: number; mailboxes: number; aliases: number; lists: number; domains: number }> {
  const { rows } = await connection.raw<{ rows: [Awaited<ReturnType<typeof countUsers>>] }>(
    `select
       (select count(*) from directory.agencies_v where mail_domain = :name and status <> 'closed')::int as agencies,
       (select count(*) from mailbox.mailboxes where state <> 'purged' and split_part(address, '@', 2) = :name)::int as mailboxes,
       (select count(*) from mailbox.aliases where ended_at is null and split_part(address, '@', 2) = :name)::int as aliases,
       (select count(*) from mailbox.groups where state = 'active' and split_part(address, '@', 2) = :name)::int as lists,
       (select count(*) from mailbox.domains d where d.target = :name and ${isOpen})::int as domains`,
    { name },
  );
  return rows[0];
}

export const findAgency = (connection: Connection, code: string): Promise<{ id: string } | undefined> =>
  connection('directory.agencies_v').where({ code }).first('id');

export const isToCome = async (connection: Connection, day: string): Promise<boolean> => {
  const { rows } = await connection.raw<{ rows: [{ later: boolean }] }>('select ?::date > directory.today() as later', [
    day,
  ]);
  return rows[0].later;
};
