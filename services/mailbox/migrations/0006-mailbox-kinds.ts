/**
 * Mailboxes that are nobody's account, rights of others on a mailbox, quota classes, retention, replies of those who are away.
 * Invariants that it adds:
 * - a shared or service mailbox has a name and an agency of its own; one behind an account takes both from the account
 * - a client's Idempotency-Key makes one mailbox
 * - a quota set by hand is a size or a class, never both; a class that is in use stays
 * - an assignment of a class stands once
 * - a right is held once, and says what it is for
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- What LDAP says and what the record says part: a suspended mailbox that refuses mail is 'disabled' there, one being purged is 'purged'
-- before its store is gone. Views that read the column go on reading what LDAP should say.
alter table mailbox.mailboxes rename column state to mail_status;
alter table mailbox.mailboxes drop constraint mailboxes_state_check;
alter table mailbox.mailboxes
  add constraint mailboxes_mail_status_check check (mail_status in ('active', 'suspended', 'disabled', 'retained', 'purged')),
  alter column mail_status set default 'active',
  add column state text,
  add column kind text default 'person',
  add column display_name text,
  add column agency_id uuid,
  -- What becomes of mail while it is suspended, where that differs from the configuration.
  add column suspended_mail text check (suspended_mail in ('accept', 'refuse')),
  add column suspension_reason text,
  -- The last day of the retention, in Vietnam.
  add column retained_until date,
  add column quota_bytes_by_hand bigint check (quota_bytes_by_hand > 0),
  add column quota_class_by_hand text,
  -- The class that quota_bytes came of.
  add column quota_class text,
  add column secret_issued_at timestamptz(3),
  add column version int not null default 1,
  add column created_by text,
  add column idempotency_key text,
  add column body_hash bytea;
create unique index mailboxes_idempotency_unique on mailbox.mailboxes (created_by, idempotency_key)
  where idempotency_key is not null;
update mailbox.mailboxes m set state = m.mail_status,
  kind = coalesce((select c.kind from directory.accounts c where c.id = m.account_id), 'person');
alter table mailbox.mailboxes
  alter column state set not null,
  alter column kind set not null,
  add constraint mailboxes_state_check check (state in ('active', 'suspended', 'retained', 'purging', 'purged')),
  add constraint mailboxes_kind_check check (kind in ('person', 'position', 'agency', 'shared', 'service')),
  add constraint mailboxes_own_facts
    check ((kind in ('shared', 'service')) = (display_name is not null) and (display_name is null) = (agency_id is null));
create index mailboxes_agency on mailbox.mailboxes (agency_id) where agency_id is not null;
create index mailboxes_retained on mailbox.mailboxes (retained_until) where state in ('retained', 'purging');
create index mailboxes_quota_class on mailbox.mailboxes (quota_class) where quota_class is not null;

create table mailbox.quota_classes (
  code text primary key check (code ~ '^[a-z0-9-]+$' and code !~ '^-|-$' and length(code) <= 40),
  name text not null,
  quota_bytes bigint not null check (quota_bytes > 0),
  version int not null default 1,
  created_at timestamptz(3) not null default now()
);
alter table mailbox.mailboxes
  add constraint mailboxes_quota_class_by_hand foreign key (quota_class_by_hand) references mailbox.quota_classes,
  add constraint mailboxes_one_quota_by_hand check (quota_bytes_by_hand is null or quota_class_by_hand is null);
-- Which class a mailbox has of which nothing was said by hand.
create table mailbox.quota_assignments (
  class_code text not null constraint quota_assignments_class references mailbox.quota_classes,
  kind text check (kind in ('person', 'position', 'agency', 'shared', 'service')),
  title text,
  agency_id uuid,
  constraint quota_assignments_once unique nulls not distinct (kind, title, agency_id)
);

create table mailbox.rights (
  mailbox_id uuid not null references mailbox.mailboxes,
  account_id uuid not null,
  -- Where the account was when the right was given; whoever goes elsewhere leaves rights behind.
  agency_id uuid not null,
  can_read boolean not null,
  can_write boolean not null,
  can_send_as boolean not null,
  primary key (mailbox_id, account_id),
  constraint rights_for_something check (can_read or can_send_as),
  constraint rights_writers_read check (can_read or not can_write),
  constraint rights_of_others check (mailbox_id <> account_id)
);
create index rights_account on mailbox.rights (account_id);

create table mailbox.vacations (
  mailbox_id uuid primary key references mailbox.mailboxes,
  subject text not null,
  body text not null,
  first_day date,
  last_day date,
  constraint vacations_days check (first_day <= last_day)
);

grant select, insert, update, delete on mailbox.quota_classes to congvu_mailbox;
grant select, insert, delete on mailbox.quota_assignments to congvu_mailbox;
grant select, insert, update, delete on mailbox.rights, mailbox.vacations to congvu_mailbox;
-- What names are found by, without marks and capitals.
grant execute on function directory.search_text to congvu_mailbox;
`);
