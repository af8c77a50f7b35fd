/** Every query on the counts: what the logs say, the figures of a mailbox, and what is still to be measured. */
import type { Connection, Transaction } from '@congvu/database';
import type { LogPosition } from './read-log.ts';
import type { AddressUse, MailboxCount, UnderWay } from './tally.ts';

interface PositionRow {
  inode: string;
  head_length: number;
  head_hash: string;
  position: string;
  read_at: Date;
  recent: string[];
}

/** Where reading of a log ended. Locked: of two processes that follow one log, one reads on from where the other ended. */
export async function lockLogPosition(
  transaction: Transaction,
  log: string,
): Promise<{ position: LogPosition | undefined; recent: string[] }> {
  await transaction.raw('select pg_advisory_xact_lock(hashtextextended(?, 0))', [`mailbox.log_positions ${log}`]);
  const row = await transaction('mailbox.log_positions').where({ log }).first<PositionRow | undefined>();
  if (!row) return { position: undefined, recent: [] };
  const { inode, head_length: headLength, head_hash: headHash, position, read_at: readAt, recent } = row;
  return { position: { inode, headLength, headHash, position: Number(position), readAt }, recent };
}

export const saveLogPosition = (
  transaction: Transaction,
  log: string,
  next: LogPosition,
  recent: readonly string[],
): Promise<unknown> =>
  transaction('mailbox.log_positions')
    .insert({
      log,
      inode: next.inode,
      head_length: next.headLength,
      head_hash: next.headHash,
      position: next.position,
      read_at: next.readAt,
      recent: JSON.stringify(recent),
    })
    .onConflict('log')
    .merge();

export async function findUnderWay(
  transaction: Transaction,
  queueIds: readonly string[],
): Promise<Map<string, UnderWay>> {
  if (queueIds.length === 0) return new Map();
  const rows = await transaction('mailbox.messages_under_way')
    .whereRaw('queue_id = any(?::text[])', [[...queueIds]])
    .select<{ queue_id: string; sender: string | null; addresses: string[] }[]>('queue_id', 'sender', 'addresses');
  return new Map(
    rows.map((row) => [row.queue_id, { sender: row.sender ?? undefined, addresses: new Set(row.addresses) }]),
  );
}

/** Those of `queueIds` that `underWay` does not hold have left. */
export async function saveUnderWay(
  transaction: Transaction,
  queueIds: readonly string[],
  underWay: ReadonlyMap<string, UnderWay>,
): Promise<void> {
  const rows = [...underWay]
    .filter(([, { sender, addresses }]) => sender !== undefined || addresses.size > 0)
    .map(([queueId, { sender, addresses }]) => ({ queueId, sender, addresses: [...addresses] }));
  const kept = new Set(rows.map(({ queueId }) => queueId));
  const gone = queueIds.filter((queueId) => !kept.has(queueId));
  if (gone.length > 0)
    await transaction('mailbox.messages_under_way').whereRaw('queue_id = any(?::text[])', [gone]).delete();
  if (rows.length === 0) return;
  await transaction.raw(
    `insert into mailbox.messages_under_way (queue_id, sender, addresses)
     select "queueId", sender, addresses
     from jsonb_to_recordset(?::jsonb) as row("queueId" text, sender text, addresses text[])
     on conflict (queue_id) do update set sender = excluded.sender, addresses = excluded.addresses, seen_at = now()`,
    [JSON.stringify(rows)],
  );
}

/** Addresses that are no mailbox's primary one count nowhere. */
export async function addMailboxCounts(transaction: Transaction, counts: readonly MailboxCount[]): Promise<void> {
  if (counts.length === 0) return;
  await transaction.raw(
    `with count as materialized (
       select m.account_id as id, u.agency_id, c.*
       from jsonb_to_recordset(?::jsonb) as c(address text, day date, received int, sent int,
         "lastReceivedAt" timestamptz, "lastSentAt" timestamptz, "lastLoginAt" timestamptz)
       join mailbox.mailboxes m on m.address = c.address
       join mailbox.usage u on u.mailbox_id = m.account_id
       order by m.account_id for update of u),
     days as (
       insert into mailbox.usage_days (mailbox_id, day, received, sent)
       select id, day, sum(received), sum(sent) from count where received + sent > 0 group by id, day
       on conflict (mailbox_id, day) do update
         set received = usage_days.received + excluded.received, sent = usage_days.sent + excluded.sent),
     agencies as (
       insert into mailbox.agency_days (agency_id, day, received, sent)
       select agency_id, day, sum(received), sum(sent) from count
       where received + sent > 0 and agency_id is not null group by agency_id, day order by agency_id, day
       on conflict (agency_id, day) do update
         set received = agency_days.received + excluded.received, sent = agency_days.sent + excluded.sent),
     total as (
       select id, sum(received) as received, sum(sent) as sent, max("lastReceivedAt") as received_at,
         max("lastSentAt") as sent_at, max("lastLoginAt") as login_at
       from count group by id)
     update mailbox.usage u set
       received_count = u.received_count + total.received, sent_count = u.sent_count + total.sent,
       last_received_at = greatest(u.last_received_at, total.received_at),
       last_sent_at = greatest(u.last_sent_at, total.sent_at),
       last_login_at = greatest(u.last_login_at, total.login_at),
       touched_at = now()
     from total where u.mailbox_id = total.id`,
    [JSON.stringify(counts)],
  );
}

export async function addAddressUses(transaction: Transaction, uses: readonly AddressUse[]): Promise<void> {
  if (uses.length === 0) return;
  await transaction.raw(
    `insert into mailbox.address_uses (address, day, uses, last_used_at)
     select address, day, uses, "lastUsedAt"
     from jsonb_to_recordset(?::jsonb) as u(address text, day date, uses int, "lastUsedAt" timestamptz)
     order by address, day
     on conflict (address, day) do update set uses = address_uses.uses + excluded.uses,
       last_used_at = greatest(address_uses.last_used_at, excluded.last_used_at)`,
    [JSON.stringify(uses)],
  );
}

/** Which mailboxes to measure: those used since they were last measured, or all that were not measured since a time. */
export type Due = { usedSince: true } | { notSince: Date };

/** The next mailboxes after `after`, by id. */
export function listToMeasure(
  connection: Connection,
  due: Due,
  after: string | undefined,
  limit: number,
): Promise<{ id: string; address: string }[]> {
  return connection('mailbox.usage as u')
    .join('mailbox.mailboxes as m', 'm.account_id', 'u.mailbox_id')
    .modify((query) => {
      if ('notSince' in due)
        query.whereRaw("coalesce(u.measured_at, '-infinity') < ?", [due.notSince]).whereIn('m.state', storedStates);
      // A mailbox that is busy all day is measured every few minutes.
      else
        query
          .whereRaw("u.touched_at > coalesce(u.measured_at, '-infinity')")
          .whereRaw("coalesce(u.measured_at, '-infinity') < now() - interval '3 minutes'");
      if (after) query.where('u.mailbox_id', '>', after);
    })
    .orderBy('u.mailbox_id')
    .limit(limit)
    .select('u.mailbox_id as id', 'm.address');
}

/** Those that the mail store knows: of one that is retained it tells nothing. */
const storedStates = ['active', 'suspended'];

export interface Measurement {
  id: string;
  /** Null where the mail store knows no such mailbox: the last figures stay. */
  quotaUsedBytes: number | null;
  messageCount: number | null;
}

export async function saveMeasurements(
  connection: Connection,
  measuredAt: Date,
  measurements: readonly Measurement[],
): Promise<void> {
  await connection.raw(
    `with measured as (
       select u.mailbox_id, one."quotaUsedBytes", one."messageCount"
       from jsonb_to_recordset(?::jsonb) as one(id uuid, "quotaUsedBytes" bigint, "messageCount" bigint)
       join mailbox.usage u on u.mailbox_id = one.id order by u.mailbox_id for update of u)
     update mailbox.usage u set quota_used_bytes = coalesce(m."quotaUsedBytes", u.quota_used_bytes),
       message_count = coalesce(m."messageCount", u.message_count), measured_at = ?
     from measured m where m.mailbox_id = u.mailbox_id`,
    [JSON.stringify(measurements), measuredAt],
  );
}

/** Where the mailboxes stand in lists follows name and agency; a new mailbox has it from the start. */
export async function refreshListKeys(connection: Connection, mailboxIds: readonly string[]): Promise<void> {
  if (mailboxIds.length > 0) await connection.raw('select mailbox.refresh_list_keys(?::uuid[])', [[...mailboxIds]]);
}

/** Of the mailboxes after `after` so many, by id. */
export const listMailboxIds = (connection: Connection, after: string | undefined, limit: number): Promise<string[]> =>
  connection('mailbox.usage')
    .modify((query) => after && query.where('mailbox_id', '>', after))
    .orderBy('mailbox_id')
    .limit(limit)
    .pluck('mailbox_id');

/** Days before `day`, and messages that Postfix must have given up long ago. */
export async function forgetOldCounts(connection: Connection, day: string): Promise<void> {
  for (const table of ['usage_days', 'agency_days', 'address_uses'])
    await connection(`mailbox.${table}`).where('day', '<', day).delete();
  await connection('mailbox.messages_under_way').whereRaw("seen_at < now() - interval '10 days'").delete();
}
