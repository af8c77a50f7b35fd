/** Every query on mailbox.aliases. */
import type { MailAlias, MailboxKind } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { isAtOrBelow } from '../agencies/agency-store.ts';
import { lockMailboxWithin } from '../mailboxes/mailbox-store.ts';

interface AliasRow {
  address: string;
  mailbox_id: string;
  mailbox_address: string;
  display_name: string;
  agency_code: string;
  reason: MailAlias['reason'];
  valid_until: string | null;
  ended_at: Date | null;
  uses: string;
  last_used_at: Date | null;
  created_at: Date;
  version: number;
}

/** Name and agency are the account's; of shared and service mailboxes, their own. */
const aliases = (connection: Connection) =>
  connection('mailbox.aliases as x')
    .join('mailbox.mailboxes as m', 'm.account_id', 'x.mailbox_id')
    .leftJoin('directory.account_facts_v as c', 'c.id', 'x.mailbox_id')
    .joinRaw('join directory.agencies_v a on a.id = coalesce(c.agency_id, m.agency_id)')
    .select<AliasRow[]>(
      'x.address',
      'x.mailbox_id',
      'm.address as mailbox_address',
      connection.raw('coalesce(c.display_name, m.display_name) as display_name'),
      'a.code as agency_code',
      'x.reason',
      connection.raw("to_char(x.valid_until, 'YYYY-MM-DD') as valid_until"),
      'x.ended_at',
      'x.uses',
      'x.last_used_at',
      'x.created_at',
      'x.version',
    );

const toAlias = (row: AliasRow): MailAlias => ({
  address: row.address,
  mailboxId: row.mailbox_id,
  mailboxAddress: row.mailbox_address,
  displayName: row.display_name,
  agencyCode: row.agency_code,
  reason: row.reason,
  validUntil: row.valid_until,
  endedAt: row.ended_at?.toISOString() ?? null,
  uses: Number(row.uses),
  lastUsedAt: row.last_used_at?.toISOString() ?? null,
  createdAt: row.created_at.toISOString(),
  version: row.version,
});

export async function requireAlias(connection: Connection, address: string, scope: string): Promise<MailAlias> {
  const [row] = await aliases(connection).where('x.address', address).whereRaw(isAtOrBelow('a.id'), [scope]);
  if (row) return toAlias(row);
  throw new ServiceError({
    kind: 'not_found',
    code: 'alias_not_found',
    detail: 'No mailbox at or below your agency has, or had, that further address.',
  });
}

export interface AliasFilter {
  scope: string;
  mailboxId?: string | undefined;
  /** Code of an agency: those of its mailboxes and of all below it. */
  agency?: string | undefined;
  reason?: string | undefined;
  state?: 'open' | 'ended' | undefined;
  /** A day: those that were there before it and were not used from it on. */
  unusedSince?: string | undefined;
  /** A day: those that end before it. */
  endsBefore?: string | undefined;
}

export async function listAliases(
  connection: Connection,
  filter: AliasFilter,
  limit: number,
  after: string | undefined,
): Promise<MailAlias[]> {
  const inSubtree = 'a.id in (select directory.agency_subtree(?))';
  const rows = await aliases(connection)
    .whereRaw(inSubtree, [filter.scope])
    .modify((query) => {
      if (filter.mailboxId) query.where('x.mailbox_id', filter.mailboxId);
      if (filter.agency) query.whereRaw(inSubtree, [filter.agency]);
      if (filter.reason) query.where('x.reason', filter.reason);
      if (filter.state === 'open') query.whereNull('x.ended_at');
      if (filter.state === 'ended') query.whereNotNull('x.ended_at');
      if (filter.unusedSince) query.whereRaw('greatest(x.created_at, x.last_used_at) < ?::date', [filter.unusedSince]);
      if (filter.endsBefore) query.whereRaw('x.valid_until < ?::date', [filter.endsBefore]);
      if (after !== undefined) query.where('x.address', '>', after);
    })
    .orderBy('x.address')
    .limit(limit + 1);
  return rows.map(toAlias);
}

export interface AliasFacts {
  address: string;
  mailbox_id: string;
  kind: MailboxKind;
  agency_id: string | null;
  valid_until: string | null;
  ended_at: Date | null;
  version: number;
}

/** Locks it until the transaction ends. */
export async function requireAliasForUpdate(
  transaction: Transaction,
  address: string,
  scope: string,
): Promise<AliasFacts> {
  const { agencyCode: _, ...seen } = await requireAlias(transaction, address, scope);
  const row = await transaction('mailbox.aliases as x')
    .join('mailbox.mailboxes as m', 'm.account_id', 'x.mailbox_id')
    .leftJoin('directory.account_facts_v as c', 'c.id', 'x.mailbox_id')
    .where('x.address', seen.address)
    .forUpdate('x')
    .first(
      'x.*',
      'm.kind',
      transaction.raw("to_char(x.valid_until, 'YYYY-MM-DD') as valid_until"),
      transaction.raw('coalesce(c.agency_id, m.agency_id) as agency_id'),
    );
  return row;
}

export const findByIdempotencyKey = (
  connection: Connection,
  createdBy: string,
  key: string,
): Promise<{ address: string; mailbox_id: string; body_hash: Buffer } | undefined> =>
  connection('mailbox.aliases')
    .where({ created_by: createdBy, idempotency_key: key })
    .first('address', 'mailbox_id', 'body_hash');

export interface NewAlias {
  address: string;
  mailboxId: string;
  reason: MailAlias['reason'];
  /** A day, or null. */
  validUntil: string | null;
  createdBy: string;
  idempotencyKey?: string | undefined;
  bodyHash?: Buffer | undefined;
}

/**
 * Open ones; those that had ended begin anew and keep what was counted. The addresses that were added: not those that are open
 * already, or another mailbox's.
 */
export async function insertAliases(transaction: Transaction, aliases: readonly NewAlias[]): Promise<Set<string>> {
  const { rows } = await transaction.raw<{ rows: { address: string }[] }>(
    `insert into mailbox.aliases as x (address, mailbox_id, reason, valid_until, created_by, idempotency_key, body_hash)
     select address, "mailboxId", reason, "validUntil", "createdBy", "idempotencyKey", decode("bodyHash", 'hex')
     from json_to_recordset(?::json) as row(address text, "mailboxId" uuid, reason text, "validUntil" date, "createdBy" text,
       "idempotencyKey" text, "bodyHash" text)
     on conflict (address) do update set reason = excluded.reason, valid_until = excluded.valid_until, ended_at = null,
       created_by = excluded.created_by, idempotency_key = excluded.idempotency_key, body_hash = excluded.body_hash,
       created_at = now(), version = x.version + 1
     where x.mailbox_id = excluded.mailbox_id and x.ended_at is not null
     returning address`,
    [JSON.stringify(aliases.map((alias) => ({ ...alias, bodyHash: alias.bodyHash?.toString('hex') })))],
  );
  return new Set(rows.map(({ address }) => address));
}

/** Those of the addresses that are further ones now, or were. */
export async function findAliasFacts(
  connection: Connection,
  addresses: readonly string[],
): Promise<Map<string, Pick<AliasFacts, 'address' | 'mailbox_id' | 'valid_until' | 'ended_at'>>> {
  const rows = await connection('mailbox.aliases')
    .whereRaw('address = any(?::text[])', [[...addresses]])
    .select('address', 'mailbox_id', connection.raw("to_char(valid_until, 'YYYY-MM-DD') as valid_until"), 'ended_at');
  return new Map(rows.map((row) => [row.address, row]));
}

/**
 * The addresses that mailboxes had until now become aliases, for as many days; a later end that one has already stays. One that is a
 * mailbox's own address from now on is none any more.
 */
export async function keepFormerAddresses(
  transaction: Transaction,
  changes: readonly { mailboxId: string; from: string; to: string }[],
  days: number,
): Promise<void> {
  if (changes.length === 0) return;
  const json = JSON.stringify(changes);
  await transaction.raw(
    `insert into mailbox.aliases as x (address, mailbox_id, reason, valid_until, created_by)
     select "from", "mailboxId", case when split_part("from", '@', 1) = split_part("to", '@', 1) then 'former_agency' else 'former_name' end,
       directory.today() + ?::int, 'mailbox'
     from jsonb_to_recordset(?::jsonb) as row("mailboxId" uuid, "from" text, "to" text)
     on conflict (address) do update set reason = excluded.reason, ended_at = null, version = x.version + 1,
       valid_until = case when x.ended_at is null then greatest(x.valid_until, excluded.valid_until) else excluded.valid_until end
     where x.mailbox_id = excluded.mailbox_id`,
    [days, json],
  );
  await transaction.raw(
    `update mailbox.aliases x set ended_at = now(), version = x.version + 1
     from jsonb_to_recordset(?::jsonb) as row("mailboxId" uuid, "to" text)
     where x.address = row."to" and x.mailbox_id = row."mailboxId" and x.ended_at is null`,
    [json],
  );
}

export const updateAlias = (
  transaction: Transaction,
  address: string,
  set: { valid_until: string | null } | { ended_at: ReturnType<Transaction['raw']> },
): Promise<unknown> =>
  transaction('mailbox.aliases')
    .where({ address })
    .update({ ...set, version: transaction.raw('version + 1') });

/** Ends those whose day has come, but for those that somebody is just changing. */
export async function endAliasesOver(
  transaction: Transaction,
  limit: number,
): Promise<Pick<AliasFacts, 'address' | 'mailbox_id' | 'kind' | 'agency_id'>[]> {
  const { rows } = await transaction.raw<{ rows: Awaited<ReturnType<typeof endAliasesOver>> }>(
    `with over as (
       select address from mailbox.aliases where ended_at is null and valid_until <= directory.today()
       order by address limit ? for update skip locked),
     ended as (
       update mailbox.aliases x set ended_at = now(), version = version + 1 from over where x.address = over.address
       returning x.address, x.mailbox_id)
     select ended.*, m.kind, coalesce(c.agency_id, m.agency_id) as agency_id
     from ended join mailbox.mailboxes m on m.account_id = ended.mailbox_id
     left join directory.account_facts_v c on c.id = ended.mailbox_id order by ended.address`,
    [limit],
  );
  return rows;
}

/** Messages that came to further addresses, or to domains that stand for another; others of `used` are nobody's. */
export async function countAliasUse(
  transaction: Transaction,
  used: readonly { address: string; uses: number; lastUsedAt: Date }[],
): Promise<void> {
  if (used.length === 0) return;
  const json = JSON.stringify(used.map((one) => ({ ...one, address: one.address.toLowerCase() })));
  const rows = 'jsonb_to_recordset(?::jsonb) as row(address text, uses bigint, "lastUsedAt" timestamptz)';
  await transaction.raw(
    `update mailbox.aliases x set uses = x.uses + used.uses, last_used_at = greatest(x.last_used_at, used.last)
     from (select address, sum(uses) as uses, max("lastUsedAt") as last from ${rows} group by address) used
     where x.address = used.address`,
    [json],
  );
  await transaction.raw(
    `update mailbox.domains d set uses = d.uses + used.uses, last_used_at = greatest(d.last_used_at, used.last)
     from (select split_part(address, '@', 2) as name, sum(uses) as uses, max("lastUsedAt") as last from ${rows} group by 1) used
     where d.name = used.name and d.kind = 'alias'`,
    [json],
  );
}

export interface MailboxToChange {
  account_id: string;
  kind: MailboxKind;
  address: string;
  state: string;
  agency_id: string;
}

/** Locks the mailbox, at or below `scope`, until the transaction ends. Only one that receives mail can be changed. */
export async function requireReceivingMailbox(
  transaction: Transaction,
  id: string,
  scope: string,
): Promise<MailboxToChange> {
  const { row, agencyId } = await lockMailboxWithin(transaction, id, scope);
  const mailbox = { ...row, agency_id: agencyId };
  const refusal = notReceiving(mailbox.state);
  if (refusal) throw new ServiceError({ kind: 'conflict', ...refusal });
  return mailbox;
}

/** By address, those of the mailboxes that are at or below `scope`. */
export async function findMailboxesAt(
  connection: Connection,
  addresses: readonly string[],
  scope: string,
): Promise<Map<string, { id: string; agencyId: string }>> {
  const { rows } = await connection.raw<{ rows: { address: string; id: string; agencyId: string }[] }>(
    `select m.address, m.account_id as id, coalesce(c.agency_id, m.agency_id) as "agencyId"
     from (select distinct address from unnest(?::text[]) as address) given
     cross join lateral (select address, account_id, agency_id from mailbox.mailboxes m where m.address = given.address offset 0) m
     left join lateral (select agency_id from directory.account_facts_v c where c.id = m.account_id offset 0) c on true
     where coalesce(c.agency_id, m.agency_id) in (select directory.agency_subtree(?))`,
    [[...addresses], scope],
  );
  return new Map(rows.map(({ address, ...mailbox }) => [address, mailbox]));
}

/** Why nothing can be added to it, where it receives no mail. */
export const notReceiving = (state: string) =>
  state === 'active' || state === 'suspended'
    ? undefined
    : { code: 'mailbox_state', detail: `The mailbox is ${state} and receives no mail; bring it back first.` };
