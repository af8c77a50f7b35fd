/**
 * Names that the mail service gives: a list, a shared mailbox, a further address. Invariant: what stands before the @ is given once in
 * the whole province and never again, whoever gave it, because all of them take it from one table.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table directory.usernames
  alter column account_id drop not null,
  -- What is not an account: the mail service's own list or mailbox, by its id.
  add column mail_object_id uuid,
  add constraint usernames_one_holder check (num_nonnulls(account_id, mail_object_id) = 1);

-- Takes a name for an account that has one already (then a further one), or for a list or mailbox of the mail service. True when it is
-- the holder's now or was before; false when it is another's, or is kept for the agency whose short name it is.
create function directory.take_mail_name(name text, holder uuid) returns boolean
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
revoke execute on function directory.take_mail_name from public;
grant execute on function directory.take_mail_name to congvu_mailbox;
`);
