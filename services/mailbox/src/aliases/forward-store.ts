/** Every query on mailbox.forwardings and mailbox.forwards. */
import type { Forwarding, MailboxKind } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { isOpen } from '../domains/domain-store.ts';

/** A circle is closed by two changes together: one after the other. */
export const lockForwards = (transaction: Transaction): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('mailbox.forwards', 0))");

/** What of a mailbox that nothing was ever said of. */
const nothing: Forwarding = { addresses: [], keepCopy: true, version: 0 };

export async function findForwarding(connection: Connection, mailboxId: string): Promise<Forwarding> {
  const row = await connection('mailbox.forwardings as f')
    .where('f.mailbox_id', mailboxId)
    .first(
      'f.version',
      'f.keep_copy as keepCopy',
      connection.raw(
        `(select coalesce(json_agg(coalesce(t.address, w.address) order by w.position), '[]') from mailbox.forwards w
          left join mailbox.mailboxes t on t.account_id = w.target_id where w.mailbox_id = f.mailbox_id) as addresses`,
      ),
    );
  return row ? { addresses: row.addresses, keepCopy: row.keepCopy, version: row.version } : nothing;
}

export interface Target {
  address: string;
  targetId: string | null;
}

export async function saveForwarding(
  transaction: Transaction,
  mailboxId: string,
  keepCopy: boolean,
  targets: readonly Target[],
): Promise<void> {
  await transaction('mailbox.forwards').where({ mailbox_id: mailboxId }).delete();
  await transaction('mailbox.forwardings')
    .insert({ mailbox_id: mailboxId, keep_copy: keepCopy })
    .onConflict('mailbox_id')
    .merge({
      keep_copy: keepCopy,
      version: transaction.raw('forwardings.version + 1'),
      updated_at: transaction.fn.now(),
    });
  const rows = targets.map(({ address, targetId }, position) => ({
    mailbox_id: mailboxId,
    position,
    address,
    target_id: targetId,
  }));
  if (rows.length > 0) await transaction('mailbox.forwards').insert(rows);
}

/** By address, the mailbox that receives what comes to it: its own address or an alias, in our domains or one that stands for them. */
export async function findReceivers(
  connection: Connection,
  addresses: readonly string[],
): Promise<Map<string, { id: string; address: string }>> {
  const { rows } = await connection.raw<{ rows: { given: string; id: string; address: string }[] }>(
    `with wanted as (
       select given, case when d.kind = 'alias' then split_part(given, '@', 1) || '@' || d.target else given end as address
       from unnest(?::text[]) as given left join mailbox.domains d on d.name = split_part(given, '@', 2) and ${isOpen})
     select w.given, m.account_id as id, m.address from wanted w
     join mailbox.mailboxes m on m.account_id = coalesce(
       (select own.account_id from mailbox.mailboxes own where own.address = w.address),
       (select x.mailbox_id from mailbox.aliases x where x.address = w.address and x.ended_at is null))
     where m.state in ('active', 'suspended')`,
    [[...addresses]],
  );
  return new Map(rows.map(({ given, id, address }) => [given, { id, address }]));
}

/** The first of `targets` from which mail would come back to `mailboxId`. */
export async function findCircle(
  connection: Connection,
  mailboxId: string,
  targets: readonly string[],
): Promise<string | undefined> {
  const { rows } = await connection.raw<{ rows: { begin: string }[] }>(
    `with recursive way as (
       select id as begin, id from unnest(?::uuid[]) as id
       union
       select way.begin, f.target_id from way join mailbox.forwards f on f.mailbox_id = way.id where f.target_id is not null)
     select begin from way where id = ? limit 1`,
    [[...targets], mailboxId],
  );
  return rows[0]?.begin;
}

/** Mailboxes that forward to any of these: where mail goes changes with their addresses, and with whether they receive any. */
export const listForwardersTo = (
  connection: Connection,
  mailboxIds: readonly string[],
): Promise<{ id: string; kind: MailboxKind }[]> =>
  connection('mailbox.forwards as f')
    .join('mailbox.mailboxes as m', 'm.account_id', 'f.mailbox_id')
    .whereRaw('f.target_id = any(?::uuid[])', [[...mailboxIds]])
    .distinct('m.account_id as id', 'm.kind');

/** Mailboxes, some of them, that forward to addresses at that domain which are no mailbox here. */
export const listForwardersOutside = (connection: Connection, domain: string, limit: number): Promise<string[]> =>
  connection('mailbox.forwards as f')
    .join('mailbox.mailboxes as m', 'm.account_id', 'f.mailbox_id')
    .whereNull('f.target_id')
    .whereRaw("split_part(f.address, '@', 2) = ?", [domain])
    .distinct('m.address')
    .orderBy('m.address')
    .limit(limit)
    .pluck('m.address');

/** Of so many mailboxes the forwards to addresses that are neither of a mailbox here nor at one of the domains outside. */
export async function deleteForbidden(
  transaction: Transaction,
  allowedDomains: readonly string[],
  limit: number,
): Promise<{ id: string; kind: MailboxKind; agencyId: string | null; addresses: string[] }[]> {
  const { rows } = await transaction.raw<{ rows: Awaited<ReturnType<typeof deleteForbidden>> }>(
    `with forbidden as (
       select f.mailbox_id, f.position, f.address, dense_rank() over (order by f.mailbox_id) as nth from mailbox.forwards f
       where f.target_id is null and (split_part(f.address, '@', 2) <> all(?::text[])
         or exists (select 1 from mailbox.domains d where d.name = split_part(f.address, '@', 2) and ${isOpen}))),
     gone as (
       delete from mailbox.forwards f using forbidden one
       where one.nth <= ? and f.mailbox_id = one.mailbox_id and f.position = one.position
       returning f.mailbox_id, f.address),
     touched as (
       update mailbox.forwardings f set version = version + 1, updated_at = now()
       where f.mailbox_id in (select mailbox_id from gone))
     select m.account_id as id, m.kind, coalesce(c.agency_id, m.agency_id) as "agencyId", json_agg(gone.address) as addresses
     from gone join mailbox.mailboxes m on m.account_id = gone.mailbox_id
     left join directory.account_facts_v c on c.id = m.account_id
     group by m.account_id, c.agency_id`,
    [[...allowedDomains], limit] as never,
  );
  return rows;
}

export interface MailRoutes {
  aliases: string[];
  forwards: string[];
}

export const noRoutes: MailRoutes = { aliases: [], forwards: [] };

/** Further addresses and forwards as the LDAP entries should have them, of those that have any. */
export async function listRoutes(
  connection: Connection,
  mailboxIds: readonly string[],
): Promise<Map<string, MailRoutes>> {
  const routes = new Map<string, MailRoutes>();
  if (mailboxIds.length === 0) return routes;
  const { rows } = await connection.raw<{ rows: { account_id: string; kind: string; address: string }[] }>(
    'select account_id, kind, address from mailbox.mail_routes_v where account_id = any(?::uuid[]) order by 1, 2, 3',
    [[...mailboxIds]],
  );
  for (const { account_id, kind, address } of rows) {
    const route = routes.get(account_id) ?? { aliases: [], forwards: [] };
    (kind === 'alias' ? route.aliases : route.forwards).push(address);
    routes.set(account_id, route);
  }
  return routes;
}
