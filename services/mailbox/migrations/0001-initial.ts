/**
 * Invariants that the database itself keeps:
 * - an account has at most one mailbox
 * - a notice exists once per kind and subject, with the Message-ID it will always be sent under, before anything is sent
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table mailbox.mailboxes (
  account_id uuid primary key,
  address text not null,
  state text not null check (state in ('active', 'suspended', 'retained', 'purged')),
  quota_bytes bigint not null check (quota_bytes > 0),
  provisioned_at timestamptz,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz not null default now()
);
create index mailboxes_list on mailbox.mailboxes (created_at desc, account_id desc);

create index mailboxes_address on mailbox.mailboxes (address);

create table mailbox.notices (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('welcome', 'decision')),
  subject_id uuid not null,
  recipient text,
  message_id text not null constraint notices_message_id_unique unique,
  state text not null default 'waiting' check (state in ('waiting', 'sent', 'no_recipient')),
  created_at timestamptz(3) not null default now(),
  sent_at timestamptz,
  constraint notices_once unique (kind, subject_id)
);
create index notices_waiting on mailbox.notices (recipient) where state = 'waiting';
create index notices_list on mailbox.notices (created_at desc, id desc);

-- The directory asks for work here, inside its own transaction, and can do nothing else in this schema.
create function mailbox.request_convergence(account_ids uuid[]) returns void
language sql security definer set search_path = mailbox, pg_temp as $$
  -- One account alone is keyed, so that many changes of it make one job; many are shared out, 500 a job.
  select mailbox_jobs.add_jobs(array(
    select row('converge-mailboxes', json_build_object('accountIds', part.ids), null, null, null,
      case when cardinality(account_ids) = 1 then 'mailbox:' || account_ids[1] end, null, null)::mailbox_jobs.job_spec
    from (select array_agg(id) as ids from unnest(account_ids) with ordinality as one(id, place) group by (place - 1) / 500) part))
$$;
create function mailbox.request_decision_notice(request_id uuid) returns void
language sql security definer set search_path = mailbox, pg_temp as $$
  select mailbox_jobs.add_job('send-notice', json_build_object('kind', 'decision', 'subjectId', request_id),
    job_key := 'notice:decision:' || request_id)
$$;

revoke execute on all functions in schema mailbox from public;
grant usage on schema mailbox to congvu_mailbox, congvu_directory;
grant execute on function mailbox.request_convergence, mailbox.request_decision_notice to congvu_directory;
grant select, insert, update on mailbox.mailboxes, mailbox.notices to congvu_mailbox;
`);
