/**
 * A request may be returned to its agency several times. Invariant that it adds: each return is told in one notice of its own,
 * because the notice's subject is the return and not the request.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table mailbox.notices
  drop constraint notices_kind_check,
  add constraint notices_kind_check check (kind in ('welcome', 'decision', 'return'));

create function mailbox.request_return_notice(return_id uuid) returns void
language sql security definer set search_path = mailbox, pg_temp as $$
  select mailbox_jobs.add_job('send-notice', json_build_object('kind', 'return', 'subjectId', return_id),
    job_key := 'notice:return:' || return_id)
$$;
revoke execute on function mailbox.request_return_notice from public;
grant execute on function mailbox.request_return_notice to congvu_directory;
`);
