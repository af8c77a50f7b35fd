/**
 * What an agency's own account and a position are called follows the name of the agency: in the transaction that renames it the
 * accounts get it, and with them their entries and what they are found by.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- Null for a person, whose name is the own.
create function directory.name_by_agency(kind text, title text, agency_name text) returns text
language sql immutable parallel safe
return case kind when 'agency' then agency_name when 'position' then concat_ws(' ', title, agency_name) end;

create or replace function directory.agency_moved_or_renamed() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
declare behind uuid[];
begin
  with recursive tree as (
    select n.id from new_rows n join old_rows o on o.id = n.id
    where n.parent_id is distinct from o.parent_id or n.code <> o.code
    union
    select child.id from directory.agencies child join tree on child.parent_id = tree.id),
  affected as (
    select id from tree
    union
    select n.id from new_rows n join old_rows o on o.id = n.id where n.name <> o.name),
  locked as (
    select c.id, directory.name_by_agency(c.kind, c.title, a.name) as name
    from directory.accounts c join directory.agencies a on a.id = c.agency_id
    where c.agency_id in (select id from affected) order by c.id for update of c),
  changed as (
    update directory.accounts c set version = c.version + 1, updated_at = now(),
      display_name = coalesce(locked.name, c.display_name), surname = coalesce(locked.name, c.surname),
      given_name = coalesce(locked.name, c.given_name)
    from locked where c.id = locked.id returning c.id)
  select array_agg(id) into behind from changed;
  if behind is not null then
    perform directory.queue_entries(behind);
  end if;
  return null;
end $$;

-- Those that were left behind until now.
with changed as (
  update directory.accounts c set version = c.version + 1, updated_at = now(), display_name = named.name, surname = named.name,
    given_name = named.name
  from (select o.id, directory.name_by_agency(o.kind, o.title, a.name) as name
    from directory.accounts o join directory.agencies a on a.id = o.agency_id) named
  where c.id = named.id and c.display_name <> named.name returning c.id)
select directory.queue_entries(array_agg(id)) from changed having count(*) > 0;

-- Runs of long ago are deleted with their findings.
grant delete on directory.reconciliations to congvu_directory;
`);
