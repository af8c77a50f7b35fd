/**
 * What the mail service's lists and reports of use need of accounts: their Vietnamese order, what they are, and whether their holders
 * ever set a password. Read-only, and nothing else.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- Whether an account changed since it was read, for crowds.
create view directory.account_versions_v as select id as account_id, version from directory.accounts;
grant select on directory.account_versions_v to congvu_mailbox;

create view directory.account_order_v as
  select account_id, agency_id, kind, state, sort_key from directory.account_search;

-- Accounts with a password that their present holder set.
create view directory.activated_accounts_v as
  select distinct k.account_id from directory.activation_codes k
  join directory.accounts c on c.id = k.account_id and c.credential_epoch = k.credential_epoch
  where k.used_at is not null;
create index activation_codes_used on directory.activation_codes (account_id) where used_at is not null;

-- The place in Vietnamese order of a name that is no account's.
create function directory.name_order(name text) returns text
language sql immutable strict parallel safe security definer set search_path = directory, pg_temp as $$
  select left(sort_part(name), 600)
$$;
revoke execute on function directory.name_order from public;
grant execute on function directory.name_order to congvu_mailbox;
grant select on directory.account_order_v, directory.activated_accounts_v to congvu_mailbox;
`);
