/** `take_mail_name` could not run: its parameter and a column of `agencies` had one name. What it promises is unchanged. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create or replace function directory.take_mail_name(name text, holder uuid) returns boolean
language plpgsql security definer set search_path = directory, pg_temp as $$
declare is_account boolean := exists (select 1 from accounts c where c.id = holder);
begin
  -- One after the other with approvals, which choose many names and would otherwise wait for each other.
  perform pg_advisory_xact_lock(hashtextextended('directory.usernames', 0));
  if exists (select 1 from usernames u where u.username = take_mail_name.name) then
    return exists (select 1 from usernames u
      where u.username = take_mail_name.name and holder in (u.account_id, u.mail_object_id));
  end if;
  if exists (select 1 from agencies a where a.short_name = take_mail_name.name) then return false; end if;
  insert into usernames (username, account_id, mail_object_id)
    values (take_mail_name.name, case when is_account then holder end, case when not is_account then holder end);
  return true;
end $$;
`);
