/**
 * The row of usage of a new mailbox looks up its account by its key. As a join it was planned for the few accounts that were counted
 * before a crowd came, and each part of the crowd read all of it.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create or replace function mailbox.usage_of_new_mailboxes() returns trigger language plpgsql as $$
begin
  insert into mailbox.usage (mailbox_id, agency_id, sort_name)
  select n.account_id, coalesce(o.agency_id, n.agency_id),
    coalesce(o.sort_key, directory.name_order(coalesce(n.display_name, n.address)))
  from new_rows n left join lateral (
    select agency_id, sort_key from directory.account_order_v where account_id = n.account_id offset 0) o on true
  order by n.account_id;
  return null;
end $$;
`);
