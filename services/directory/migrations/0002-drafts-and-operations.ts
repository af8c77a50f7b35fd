/**
 * Requests that begin as drafts read from a sheet, that are returned and submitted again, and whose lines ask for more than new
 * accounts. Invariants that it adds:
 * - a line that opens an account says of what kind; every other line names the account that it is about
 * - a line that was refused when it was read never becomes an account
 * - a request has at most one sheet, kept encrypted, and only as long as it can still be corrected
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table directory.requests
  drop constraint requests_state_check,
  add constraint requests_state_check
    check (state in ('draft', 'submitted', 'returned', 'approved', 'rejected', 'cancelled', 'fulfilled')),
  -- By when whoever has to act should have acted: the approver on what is submitted, the agency on what is returned.
  add column due_at timestamptz(3);
create index requests_due on directory.requests (due_at) where state in ('submitted', 'returned');

alter table directory.request_lines
  drop constraint request_lines_kind_check,
  drop constraint request_lines_state_check,
  drop constraint request_lines_person_complete,
  alter column kind drop not null,
  add column operation text not null default 'open' check (operation in
    ('open', 'close', 'transfer', 'rename', 'change_position', 'issue_certificate', 'revoke_certificate')),
  -- The account that the line is about; the one that it opens is account_id.
  add column target_account_id uuid references directory.accounts,
  add column reason text,
  add column sheet_row int,
  -- What the reading found: [{cell, pointer, code, detail, severity: fault | correction | warning}]
  add column findings jsonb not null default '[]',
  -- The approver's remark on this line alone.
  add column remark text,
  -- Why it failed after its approval: {code, detail}
  add column failure jsonb,
  add constraint request_lines_kind_check check (kind in ('person', 'agency', 'position')),
  add constraint request_lines_state_check check (state in
    ('draft', 'refused', 'submitted', 'approved', 'rejected', 'cancelled', 'fulfilled', 'failed')),
  add constraint request_lines_operation_complete check (state = 'refused' or case operation
    when 'open' then kind is not null and target_account_id is null
    else kind is null and account_id is null and target_account_id is not null end),
  add constraint request_lines_person_complete check (state = 'refused' or kind is distinct from 'person' or
    (full_name is not null and birth_date is not null and national_id_hash is not null)),
  add constraint request_lines_refused_opens_nothing check (state <> 'refused' or account_id is null);
create index request_lines_target on directory.request_lines (target_account_id) where target_account_id is not null;
-- The lines of a request that are few among many; the others are met in the order of their numbers.
create index request_lines_unusual_state on directory.request_lines (request_id, state, line_number)
  where state in ('refused', 'rejected', 'cancelled', 'failed');
create index request_lines_approved on directory.request_lines (request_id, line_number) where state = 'approved';

-- The uploaded file, encrypted because it holds identity numbers; deleted when the request is decided.
create table directory.sheets (
  request_id uuid primary key references directory.requests,
  file_name text not null,
  media_type text not null,
  sealed bytea not null,
  uploaded_at timestamptz(3) not null default now()
);

grant select, insert, update, delete on directory.sheets to congvu_directory;
-- The lines of a draft are replaced when its corrected sheet is sent.
grant delete on directory.request_lines to congvu_directory;
`);
