/**
 * Notices that are sent more than once about the same thing, that fail, and that are written in one's language. Invariants that it adds:
 * - a notice exists once per kind, subject, occasion and addressee
 * - what was sent was sent under a Message-ID; what failed says why
 * - what a notice tells is kept only until it is sent
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- Null: the language that the service is set to.
alter table mailbox.mailboxes add column language text check (language in ('vi', 'en'));

alter table mailbox.notices
  drop constraint notices_kind_check,
  drop constraint notices_state_check,
  drop constraint notices_once,
  -- Tells notices of one kind about one subject apart, for example the week of a digest.
  add column occasion text not null default '',
  -- Of several who are told the same.
  add column addressee text not null default '',
  -- Whose clients see it in the log.
  add column agency_id uuid,
  -- What it tells, as the templates take it.
  add column facts jsonb,
  add column attempts int not null default 0,
  -- Of the attempts in a row; null again when somebody asks for another try.
  add column first_attempt_at timestamptz,
  add column last_attempt_at timestamptz(3),
  add column last_error text,
  -- Set with the first attempt, before anything is sent, and never changed.
  alter column message_id drop not null,
  add constraint notices_kind_check
    check (kind in ('welcome', 'decision', 'return', 'suspension', 'resumption', 'expiry', 'digest')),
  add constraint notices_state_check check (state in ('waiting', 'sent', 'no_recipient', 'failed')),
  add constraint notices_once unique (kind, subject_id, occasion, addressee),
  add constraint notices_sent_under_an_id check (state <> 'sent' or (message_id is not null and facts is null)),
  add constraint notices_failed_with_a_reason check (state <> 'failed' or last_error is not null);
create index notices_agency on mailbox.notices (agency_id, created_at desc, id desc);
-- Few, and asked for by themselves: what waits, what failed.
create index notices_unsent on mailbox.notices (state, created_at desc, id desc) where state <> 'sent';
create index notices_recipient on mailbox.notices (recipient, created_at desc, id desc);

update mailbox.notices n set agency_id = c.agency_id from directory.accounts_v c where c.address = n.recipient;
`);
