/**
 * The queries by which many enrolments are issued at once: what is read of each, and what is written. Few statements of many
 * rows, because each waits for its turn on both sides of the connection.
 */
import { byteaArray, type Connection, type Database, prepared } from '@congvu/database';
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import type { CertificateRow, Intent } from '../certificates/certificate-store.ts';
import { publishingJob } from './convergence-job.ts';
import { type AccountSource, accountsQuery, type EnrolmentRow } from './enrolment-store.ts';

/** What of an enrolment decides about its certificate. */
export type EnrolmentToIssue = Pick<
  EnrolmentRow,
  'id' | 'profile' | 'path' | 'state' | 'is_open' | 'dns_names' | 'subject_public_key_info'
> & {
  /** Which version of the row was read: the transaction that wrote it. */
  xmin: string;
};

export interface ToIssue {
  id: string;
  /** Of the agency that must be the account's, or above it; null where none is asked for. */
  agencyCode: string | null;
  /** SHA-256 of the key that it is to take, if it brings one. */
  fingerprint: Buffer | null;
}

export interface FoundToIssue {
  enrolment: EnrolmentToIssue;
  source: AccountSource | null;
  isBelow: boolean;
  /** An enrolment has it (a renewal that kept its key has the one of another). */
  isKeyInUse: boolean;
  isKeyCompromised: boolean;
}

/** By enrolment; those that are not there are left out. Nothing is locked: `recordIntents` looks whether they are as they were. */
export async function readToIssue(database: Database, asked: readonly ToIssue[]): Promise<Map<string, FoundToIssue>> {
  const none = Buffer.alloc(0);
  const { rows } = await prepared<EnrolmentToIssue & { account: AccountSource | null } & Omit<FoundToIssue, 'source'>>(
    database,
    'read-to-issue',
    // Upwards it is a few steps, where the subtree of a province is a thousand; and once for all accounts of an agency. Keys by their
    // index: for an "exists" PostgreSQL may read all of them first.
    `with found as materialized (
       select e.id, e.xmin, profile, path, e.state, is_open, dns_names, subject_public_key_info, asked.above, asked.fingerprint,
         account, account."agencyId" as agency_id, account."agencyCode" as agency_code
       from unnest(?::uuid[], ?::text[], ?::bytea[]) as asked(id, above, fingerprint)
       join certificate.enrolments e on e.id = asked.id
       left join lateral (${accountsQuery} where c.id = e.account_id offset 0) account on true),
     pair as (select distinct agency_id, above from found where above <> agency_code),
     below as materialized (
       select agency_id, above from pair where exists (
         with recursive upwards as (
           select code, parent_code from directory.agencies_v where id = pair.agency_id
           union
           select a.code, a.parent_code from directory.agencies_v a join upwards on a.code = upwards.parent_code)
         select from upwards where code = pair.above))
     select id, xmin, profile, path, state, is_open, dns_names, subject_public_key_info, to_json(account) as account,
       above = agency_code or (agency_id, above) in (select agency_id, above from below) as "isBelow",
       (select k.fingerprint from certificate.enrolled_keys k where k.fingerprint = found.fingerprint) is not null as "isKeyInUse",
       (select k.fingerprint from certificate.compromised_keys k where k.fingerprint = found.fingerprint) is not null
         as "isKeyCompromised"
     from found`,
    [
      asked.map(({ id }) => id),
      asked.map(({ agencyCode }) => agencyCode),
      byteaArray(asked.map(({ fingerprint }) => fingerprint ?? none)),
    ],
  );
  return new Map(
    rows.map(({ account: source, isBelow, isKeyInUse, isKeyCompromised, ...enrolment }) => [
      enrolment.id,
      { enrolment, source, isBelow, isKeyInUse, isKeyCompromised },
    ]),
  );
}

/** What an enrolment has: its certificate, or the intent that waits for its signature. */
export type Made = Pick<CertificateRow, 'id' | 'enrolment_id' | 'authority_id' | 'serial_number'> &
  (
    | { tbs: Buffer; certificate: null }
    | ({ tbs: null } & Pick<CertificateRow, 'certificate' | 'state' | 'revocation_reason'>)
  );

/** By enrolment. */
export async function listMade(database: Database, ids: readonly string[]): Promise<Map<string, Made>> {
  if (ids.length === 0) return new Map();
  const { rows } = await prepared<Made>(
    database,
    'made-for-enrolments',
    `select id, enrolment_id, authority_id, serial_number, null::bytea as tbs, certificate, state, revocation_reason
     from certificate.certificates where enrolment_id = any(?::uuid[])
     union all
     select id, enrolment_id, authority_id, serial_number, tbs, null, null, null
     from certificate.intents where enrolment_id = any(?::uuid[])`,
    [ids, ids],
  );
  return new Map(rows.map((row) => [row.enrolment_id, row]));
}

/**
 * Before anything is signed: the serial numbers, all that will stand under the signatures, and who asked for it; the enrolments of which it
 * is on record now. Left out are those that are not as they were read any more. An enrolment whose holder has the key is issued with
 * that, because nothing can keep its certificate from being made any more; one that is picked up is not.
 * In one statement, so whoever comes second finds another version; and in one order, so that two hardly ever wait for each other in a
 * circle. Those who do are parted by PostgreSQL, and the one that it refuses is tried again in halves.
 */
export async function recordIntents(
  database: Database,
  /** With the key that the enrolment has from now on, and as which version it was read. */
  intents: readonly (Intent & { actor: SystemOrActor; subjectPublicKeyInfo: Buffer; xmin: string })[],
): Promise<Set<string>> {
  const ordered = intents.toSorted((one, other) => (one.enrolmentId < other.enrolmentId ? -1 : 1));
  const column = <K extends keyof (typeof intents)[number]>(name: K): (typeof intents)[number][K][] =>
    ordered.map((intent) => intent[name]);
  const { rows } = await prepared<{ enrolment_id: string }>(
    database,
    'record-intents',
    `with item as materialized (
       select * from unnest(?::uuid[], ?::xid[], ?::bytea[], ?::uuid[], ?::uuid[], ?::bytea[], ?::uuid[], ?::uuid[], ?::uuid[], ?::text[],
         ?::text[], ?::text[], ?::bytea[], ?::timestamptz[], ?::timestamptz[], ?::int[], ?::text[], ?::text[], ?::inet[])
         as item(enrolment_id, seen, key, id, authority_id, serial_number, account_id, agency_id, request_id, address,
           profile, key_kind, tbs, not_before, not_after, crl_partition, actor_kind, actor_id, source_ip)),
     taken as (
       update certificate.enrolments e set subject_public_key_info = key, updated_at = now(),
         state = case when e.path = 'csr' and e.state = 'awaiting_csr' then 'issued' else e.state end
       from item where e.id = enrolment_id and e.xmin = seen returning item.*)
     insert into certificate.intents (id, authority_id, serial_number, enrolment_id, account_id, agency_id, request_id, address,
       profile, key_kind, tbs, not_before, not_after, crl_partition, actor_kind, actor_id, source_ip)
     select id, authority_id, serial_number, enrolment_id, account_id, agency_id, request_id, address,
       profile, key_kind, tbs, not_before, not_after, crl_partition, actor_kind, actor_id, source_ip from taken
     returning enrolment_id`,
    [
      column('enrolmentId'),
      column('xmin'),
      byteaArray(column('subjectPublicKeyInfo')),
      column('id'),
      column('authorityId'),
      byteaArray(column('serialNumber')),
      column('accountId'),
      column('agencyId'),
      column('requestId'),
      column('address'),
      column('profile'),
      column('keyKind'),
      byteaArray(column('tbs')),
      column('notBefore'),
      column('notAfter'),
      column('crlPartition'),
      ordered.map(({ actor }) => actor.kind),
      ordered.map(({ actor }) => actor.id),
      ordered.map(({ actor }) => actor.ip),
    ],
  );
  return new Set(rows.map(({ enrolment_id }) => enrolment_id));
}

/** An account as it was read when its certificate was intended. */
export interface IssuedAccount {
  id: string;
  version: number;
  /** SHA-256 of the certificate's key, in hexadecimal. */
  key: string;
}

export interface SignedIntent {
  enrolmentId: string;
  certificate: Buffer;
  /** What follows, in JSON: an account of a job that publishes many at once, or a job of its own. */
  account: string | null;
  job: string | null;
}

/** So many stored together are a crowd, of which more will come. */
const crowd = 10;

/**
 * Stores the certificates of intents that wait for one, with their events and jobs, in one statement and so in one transaction; the
 * enrolments of those that it stored. The others were stored before, by another that signed the same intent at the same time.
 *
 * A few are published by a job of theirs, at once; those of a crowd by one that begins a second after the first of them. One that waits
 * already is held until this is committed, so that it begins afterwards and finds what is stored here; none is held back by the next.
 */
export async function recordSigned(database: Database, signed: readonly SignedIntent[]): Promise<Set<string>> {
  const column = <K extends keyof SignedIntent>(name: K): SignedIntent[K][] => signed.map((one) => one[name]);
  const { rows } = await prepared<{ ids: string[] }>(
    database,
    'record-signed',
    `with stored as materialized (
       select item.* from unnest(certificate.store_issued(?::uuid[], ?::bytea[])) signed(enrolment_id)
       join unnest(?::uuid[], ?::text[], ?::text[]) as item(enrolment_id, account, job) on item.enrolment_id = signed.enrolment_id),
     published as materialized (select count(account) as number from stored),
     unpublished as (
       insert into certificate.unpublished (account)
       select account::json from stored, published where account is not null and number >= ${crowd}),
     asked as materialized (
       select id from certificate_jobs._private_jobs
       where key = '${publishingJob.key}' and locked_at is null and attempts = 0 and run_at <= now() + interval '1 second' for share),
     jobs as materialized (
       select 'publish-certificates' as task, ('{"accounts":[' || string_agg(account, ',') || ']}')::json as payload, null as queue,
         null::timestamptz as run_at, null as key
       from stored having count(account) between 1 and ${crowd - 1}
       union all
       select '${publishingJob.task}', '{}', '${publishingJob.queue}', now() + interval '1 second', '${publishingJob.key}'
       from published where number >= ${crowd} and not exists (select from asked)
       union all
       select job::json ->> 'task', job::json -> 'payload', null, null, job::json ->> 'key'
       from (select distinct job from stored where job is not null) alone)
     select array(select enrolment_id::text from stored) as ids,
       -- An empty list would wake the workers of every service all the same.
       case when exists (select from jobs) then (select count(*) from certificate_jobs.add_jobs(array(
         select row(task, payload, queue, run_at, null, key, 0, null)::certificate_jobs.job_spec from jobs))) end`,
    [column('enrolmentId'), byteaArray(column('certificate')), column('enrolmentId'), column('account'), column('job')],
  );
  return new Set(rows[0]?.ids);
}

/** Certificates of a crowd that are not in LDAP yet, those that were stored first before the others. */
export const listUnpublished = (
  connection: Connection,
  limit: number,
): Promise<{ id: string; account: IssuedAccount }[]> =>
  connection('certificate.unpublished').orderBy('id').limit(limit).select('id', 'account');

export const deleteUnpublished = (connection: Connection, ids: readonly string[]): Promise<number> =>
  connection('certificate.unpublished').whereIn('id', ids).delete();
