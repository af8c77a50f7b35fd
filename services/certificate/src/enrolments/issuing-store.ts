/**
 * The queries by which many enrolments are issued at once: what is read of each, under lock, and what is written. Few statements of many
 * rows, because each waits for its turn on both sides of the connection.
 */
import { byteaArray, type Connection, type Database, prepared, type Transaction } from '@congvu/database';
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import type { CertificateRow, Intent } from '../certificates/certificate-store.ts';
import { publishingJob } from './convergence-job.ts';
import { type AccountSource, accountsQuery, type EnrolmentRow } from './enrolment-store.ts';

/** What of an enrolment decides about its certificate. */
export type EnrolmentToIssue = Pick<
  EnrolmentRow,
  'id' | 'profile' | 'path' | 'state' | 'is_open' | 'dns_names' | 'subject_public_key_info'
>;

/**
 * Locks the enrolments until the transaction ends, always in the same order, so that nobody waits for each other in a circle, each with
 * its account. Those that are not there are left out.
 */
export async function lockToIssue(
  transaction: Transaction,
  ids: readonly string[],
): Promise<Map<string, { enrolment: EnrolmentToIssue; source: AccountSource | null }>> {
  const { rows } = await prepared<EnrolmentToIssue & { account: AccountSource | null }>(
    transaction,
    'lock-to-issue',
    `with locked as materialized (select * from certificate.enrolments where id = any(?::uuid[]) order by id for update)
     select locked.id, profile, path, locked.state, is_open, dns_names, subject_public_key_info, to_json(account) as account
     from locked left join lateral (${accountsQuery} where c.id = locked.account_id offset 0) account on true`,
    [ids],
  );
  return new Map(rows.map(({ account: source, ...enrolment }) => [enrolment.id, { enrolment, source }]));
}

/** What an enrolment has: its certificate, or the intent that waits for its signature. */
export type Made = Pick<CertificateRow, 'id' | 'enrolment_id' | 'authority_id' | 'serial_number'> &
  (
    | { tbs: Buffer; certificate: null }
    | ({ tbs: null } & Pick<CertificateRow, 'certificate' | 'state' | 'revocation_reason'>)
  );

/** By enrolment. A statement of its own, after the lock: it sees what whoever had the lock before left. */
export async function listMade(transaction: Transaction, ids: readonly string[]): Promise<Map<string, Made>> {
  if (ids.length === 0) return new Map();
  const { rows } = await prepared<Made>(
    transaction,
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

export interface IssuingChecks {
  /** "id code". */
  within: ReadonlySet<string>;
  /** SHA-256, in hexadecimal. */
  inUse: Set<string>;
  compromised: ReadonlySet<string>;
}

/**
 * Of pairs of an agency and the code of one that may be above it, or the same, those where it is. Of the fingerprints of keys those that
 * an enrolment has (a renewal that kept its key has the one of another), and those that are known to others.
 */
export async function checkToIssue(
  transaction: Transaction,
  pairs: readonly { agencyId: string; above: string }[],
  fingerprints: readonly string[],
): Promise<IssuingChecks> {
  const found = { within: new Set<string>(), inUse: new Set<string>(), compromised: new Set<string>() };
  if (pairs.length === 0 && fingerprints.length === 0) return found;
  const octets = byteaArray(fingerprints.map((one) => Buffer.from(one, 'hex')));
  // Upwards it is a few steps, where the subtree of a province is a thousand.
  const { rows } = await prepared<{ what: keyof IssuingChecks; value: string }>(
    transaction,
    'check-to-issue',
    `select 'within' as what, item.id || ' ' || item.above as value from unnest(?::uuid[], ?::text[]) as item(id, above)
     where exists (
       with recursive upwards as (
         select code, parent_code from directory.agencies_v where id = item.id
         union
         select above.code, above.parent_code from directory.agencies_v above join upwards on above.code = upwards.parent_code)
       select from upwards where code = item.above)
     union all
     select 'inUse', encode(fingerprint, 'hex') from certificate.enrolled_keys where fingerprint = any(?::bytea[])
     union all
     select 'compromised', encode(fingerprint, 'hex') from certificate.compromised_keys where fingerprint = any(?::bytea[])`,
    [pairs.map(({ agencyId }) => agencyId), pairs.map(({ above }) => above), octets, octets],
  );
  for (const { what, value } of rows) found[what].add(value);
  return found;
}

/**
 * Before anything is signed: the serial numbers and all that will stand under the signatures. An enrolment whose holder has the key is
 * issued with that, because nothing can keep its certificate from being made any more; one that is picked up is not.
 */
export async function recordIntents(
  transaction: Transaction,
  /** With the key that each has from now on. */
  issued: readonly { id: string; subjectPublicKeyInfo: Buffer }[],
  intents: readonly (Intent & { actor: SystemOrActor })[],
): Promise<void> {
  const column = <K extends keyof Intent>(name: K): Intent[K][] => intents.map((intent) => intent[name]);
  await prepared(
    transaction,
    'record-intents',
    `with issued as (
       update certificate.enrolments e set state = 'issued', updated_at = now(), subject_public_key_info = taken.key
       from unnest(?::uuid[], ?::bytea[]) as taken(id, key) where e.id = taken.id and e.state in ('awaiting_csr', 'issued'))
     insert into certificate.intents (id, authority_id, serial_number, enrolment_id, account_id, agency_id, request_id, address,
       profile, key_kind, tbs, not_before, not_after, crl_partition, actor_kind, actor_id, source_ip)
     select * from unnest(?::uuid[], ?::uuid[], ?::bytea[], ?::uuid[], ?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[],
       ?::bytea[], ?::timestamptz[], ?::timestamptz[], ?::int[], ?::text[], ?::text[], ?::inet[])`,
    [
      issued.map(({ id }) => id),
      byteaArray(issued.map(({ subjectPublicKeyInfo }) => subjectPublicKeyInfo)),
      column('id'),
      column('authorityId'),
      byteaArray(column('serialNumber')),
      column('enrolmentId'),
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
      intents.map(({ actor }) => actor.kind),
      intents.map(({ actor }) => actor.id),
      intents.map(({ actor }) => actor.ip),
    ],
  );
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
       (select count(*) from certificate_jobs.add_jobs(array(
         select row(task, payload, queue, run_at, null, key, 0, null)::certificate_jobs.job_spec from jobs)))`,
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
