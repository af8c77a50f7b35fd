/** Whether the holder of a role still has it is asked of the few agencies above theirs, and not of all below the list's. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create or replace function mailbox.role_holds(is_bound boolean, list_agency uuid, agency uuid) returns boolean
language sql stable set search_path = mailbox, pg_temp as $$
  select not is_bound or agency = list_agency or list_agency = any(directory.agency_path(agency))
$$;
`);
