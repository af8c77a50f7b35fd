/**
 * Mail domains, further addresses of mailboxes, and where mail is forwarded to. Invariants that it adds:
 * - a domain is the province's, an agency's, or stands for another one; one that stands for another is no other's target
 * - an address is an alias of one mailbox; an alias that ended stays on record, with how often it was used
 * - a mailbox forwards to each address once, and never to itself
 * - a client's Idempotency-Key makes one domain, or one alias
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table mailbox.domains (
  name text primary key check (name = lower(name) and length(name) <= 253),
  kind text not null check (kind in ('province', 'agency', 'alias')),
  -- Whose it is, where it is one agency's alone.
  agency_id uuid,
  target text references mailbox.domains,
  -- The first day on which it holds no more; those of the past are closed.
  until date,
  -- Of one that stands for another: messages to its addresses.
  uses bigint not null default 0,
  last_used_at timestamptz(3),
  created_at timestamptz(3) not null default now(),
  created_by text not null,
  idempotency_key text,
  body_hash bytea,
  version int not null default 1,
  constraint domains_target_of_alias check ((kind = 'alias') = (target is not null)),
  constraint domains_agency_of_agency check (agency_id is null or kind = 'agency'),
  constraint domains_province_stays check (kind <> 'province' or until is null),
  constraint domains_idempotency_unique unique (created_by, idempotency_key)
);
create index domains_target on mailbox.domains (target) where target is not null;

create table mailbox.aliases (
  address text primary key check (address = lower(address)),
  mailbox_id uuid not null references mailbox.mailboxes,
  reason text not null check (reason in ('former_name', 'former_agency', 'by_hand')),
  -- The first day on which it holds no more; without one, until somebody ends it.
  valid_until date,
  ended_at timestamptz(3),
  uses bigint not null default 0,
  last_used_at timestamptz(3),
  created_at timestamptz(3) not null default now(),
  created_by text not null,
  idempotency_key text,
  body_hash bytea,
  version int not null default 1,
  constraint aliases_idempotency_unique unique (created_by, idempotency_key)
);
create index aliases_mailbox on mailbox.aliases (mailbox_id, address);
create index aliases_ending on mailbox.aliases (valid_until) where ended_at is null;

create table mailbox.forwardings (
  mailbox_id uuid primary key references mailbox.mailboxes,
  keep_copy boolean not null,
  version int not null default 1,
  updated_at timestamptz(3) not null default now()
);
create table mailbox.forwards (
  mailbox_id uuid not null references mailbox.forwardings,
  position int not null,
  address text not null check (address = lower(address)),
  -- The mailbox here whose address it is; mail follows it when its address changes.
  target_id uuid references mailbox.mailboxes,
  primary key (mailbox_id, position),
  constraint forwards_once unique (mailbox_id, address),
  constraint forwards_to_others check (target_id <> mailbox_id)
);
create index forwards_target on mailbox.forwards (target_id) where target_id is not null;

-- What each entry should say of further addresses and of forwarding, for the service's own converging and for the directory's
-- reconciliation. Beside mail_attributes_v, because most mailboxes have neither: a range of accounts reads the few rows that there are.
-- Nothing is forwarded to a mailbox that refuses mail (its state, called mail_status later); where no other target is left, mail stays
-- where it came.
create view mailbox.mail_routes_v as
  select mailbox_id as account_id, 'alias' as kind, address from mailbox.aliases where ended_at is null
  union all
  select f.mailbox_id, 'forward', coalesce(t.address, f.address)
  from mailbox.forwards f left join mailbox.mailboxes t on t.account_id = f.target_id
  where t.account_id is null or t.state in ('active', 'suspended')
  union all
  select f.mailbox_id, 'forward', m.address
  from mailbox.forwardings f join mailbox.mailboxes m on m.account_id = f.mailbox_id
  where f.keep_copy and exists (select 1 from mailbox.forwards one where one.mailbox_id = f.mailbox_id);

grant select on mailbox.mail_routes_v to congvu_directory, congvu_mailbox;
grant select, insert, update on mailbox.domains, mailbox.aliases, mailbox.forwardings to congvu_mailbox;
-- Replaced as a whole.
grant select, insert, delete on mailbox.forwards to congvu_mailbox;
`);
