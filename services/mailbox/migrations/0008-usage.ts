/**
 * Who uses official mail. Invariants that it adds:
 * - every mailbox has its row of usage, from the statement that makes it
 * - a line of the mail system's logs counts once: what it adds and how far the log was read are committed together
 *
 * Kept are addresses, times and counts; nothing of what was written.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table mailbox.usage (
  mailbox_id uuid primary key,
  -- Whose it is and where it stands in Vietnamese order: what lists are cut and sorted by, kept beside the figures that they are sorted by too.
  agency_id uuid,
  sort_name text collate "C" not null,
  quota_used_bytes bigint,
  message_count bigint,
  measured_at timestamptz(3),
  received_count bigint not null default 0,
  sent_count bigint not null default 0,
  last_login_at timestamptz(3),
  last_received_at timestamptz(3),
  last_sent_at timestamptz(3),
  -- When the log last told of something that changes what is used.
  touched_at timestamptz(3)
) with (fillfactor = 70);
create index usage_agency on mailbox.usage (agency_id);
create index usage_name on mailbox.usage (sort_name, mailbox_id);
create index usage_quota on mailbox.usage (coalesce(quota_used_bytes, -1), mailbox_id);
create index usage_login on mailbox.usage (coalesce(last_login_at, '-infinity'), mailbox_id);
create index usage_received on mailbox.usage (received_count, mailbox_id);
create index usage_to_measure on mailbox.usage (mailbox_id) where touched_at > coalesce(measured_at, '-infinity');
-- Looked up by address, sorted by address, and the page after an address.
drop index mailbox.mailboxes_address;
create index mailboxes_address on mailbox.mailboxes (address, account_id);

-- Days in Việt Nam.
create table mailbox.usage_days (
  mailbox_id uuid not null,
  day date not null,
  received int not null,
  sent int not null,
  primary key (mailbox_id, day)
);
-- What the mailboxes of an agency received and sent while they were its own.
create table mailbox.agency_days (
  agency_id uuid not null,
  day date not null,
  received int not null,
  sent int not null,
  primary key (agency_id, day)
);
-- How often mail came to an address that is nobody's primary one: an alias, a list.
create table mailbox.address_uses (
  address text not null,
  day date not null,
  uses int not null,
  last_used_at timestamptz(3) not null,
  primary key (address, day)
);

create table mailbox.log_positions (
  log text primary key,
  -- The file by its number, and by a hash of how it begins, because numbers are given again.
  inode text not null,
  head_length int not null,
  head_hash text not null,
  position bigint not null,
  -- The last deliveries, of which the next lines may tell again.
  recent jsonb not null,
  read_at timestamptz not null default now()
);
-- Messages in Postfix's queue of which later lines are still to be understood.
create table mailbox.messages_under_way (
  queue_id text primary key,
  -- Who handed it in, until that is counted.
  sender text,
  -- Addresses that it has been counted for.
  addresses text[] not null,
  seen_at timestamptz not null default now()
);

-- Brings what lists are sorted and cut by to what the directory says.
create function mailbox.refresh_list_keys(mailbox_ids uuid[]) returns void language sql as $$
  insert into mailbox.usage (mailbox_id, agency_id, sort_name)
  select m.account_id, coalesce(o.agency_id, m.agency_id),
    coalesce(o.sort_key, directory.name_order(coalesce(m.display_name, m.address)))
  from mailbox.mailboxes m left join directory.account_order_v o on o.account_id = m.account_id
  where m.account_id = any(mailbox_ids)
  order by m.account_id
  on conflict (mailbox_id) do update set agency_id = excluded.agency_id, sort_name = excluded.sort_name
  where (usage.agency_id, usage.sort_name) is distinct from (excluded.agency_id, excluded.sort_name)
$$;
create function mailbox.usage_of_new_mailboxes() returns trigger language plpgsql as $$
begin
  insert into mailbox.usage (mailbox_id, agency_id, sort_name)
  select n.account_id, coalesce(o.agency_id, n.agency_id),
    coalesce(o.sort_key, directory.name_order(coalesce(n.display_name, n.address)))
  from new_rows n left join directory.account_order_v o on o.account_id = n.account_id
  order by n.account_id;
  return null;
end $$;
create trigger usage_of_new_mailboxes after insert on mailbox.mailboxes
  referencing new table as new_rows for each statement execute function mailbox.usage_of_new_mailboxes();

select mailbox.refresh_list_keys(array(select account_id from mailbox.mailboxes));

revoke execute on function mailbox.refresh_list_keys, mailbox.usage_of_new_mailboxes from public;
grant execute on function mailbox.refresh_list_keys to congvu_mailbox;
grant select, insert, update on mailbox.usage, mailbox.log_positions to congvu_mailbox;
grant select, insert, update, delete on mailbox.usage_days, mailbox.agency_days, mailbox.address_uses, mailbox.messages_under_way
  to congvu_mailbox;
`);
