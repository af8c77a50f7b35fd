/**
 * What the mail service's notices tell of the directory, read-only: ends that draw near, requests that wait, accounts that nobody ever
 * activated. Nothing of a person is in these views but the reason of a suspension.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create view directory.account_ends_v as
  select id as account_id, suspension_reason, suspended_until, retained_until from directory.accounts
  where state = 'suspended' or retained_until is not null;
create index accounts_retention_over on directory.accounts (retained_until) where retained_until is not null;

create view directory.waiting_requests_v as
  select id as request_id, agency_id, state, submitted_at, due_at from directory.requests where state in ('submitted', 'returned');

-- In use, as far as the record goes, and no code was ever redeemed: nobody has set a password.
create view directory.unactivated_accounts_v as
  select c.id as account_id, c.agency_id, c.created_at from directory.accounts c
  where c.state <> 'retired' and c.kind <> 'service'
    and not exists (select from directory.activation_codes a where a.account_id = c.id and a.used_at is not null);

grant select on directory.account_ends_v, directory.waiting_requests_v, directory.unactivated_accounts_v to congvu_mailbox;
`);
