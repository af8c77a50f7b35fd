/** The queries by which many enrolments are issued at once: what is read of each, under lock, and what is written. */
import type { Enrolment } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import type { Scope } from '../certificates/certificate-store.ts';
import type { AccountSource } from './enrolment-store.ts';

/** An enrolment and what its certificate says of the account. */
export interface EnrolmentToIssue {
  id: string;
  profile: string;
  path: Enrolment['path'];
  state: Enrolment['state'];
  subjectPublicKeyInfo: Buffer | null;
  accountId: string;
  accountState: AccountSource['state'];
  username: string;
  address: string;
  displayName: string;
  surname: string;
  givenName: string;
  agencyId: string;
  agencyName: string;
  requestId: string | null;
}

/**
 * Locks the enrolments until the transaction ends, always in the same order, so that nobody waits for each other in a circle. Those
 * outside of their scope are left out, like those that are not there.
 */
export async function lockToIssue(
  transaction: Transaction,
  wanted: readonly { id: string; scope: Scope | undefined }[],
): Promise<Map<string, EnrolmentToIssue>> {
  const items = wanted.map(({ id, scope }) => ({ id, ...scope }));
  // From the account's agency upwards: a few steps, where the subtree of a province is a thousand.
  const { rows } = await transaction.raw<{ rows: EnrolmentToIssue[] }>(
    `select e.id, e.profile, e.path, e.state, e.subject_public_key_info as "subjectPublicKeyInfo", e.account_id as "accountId",
       c.state as "accountState", c.username, c.address, c.display_name as "displayName", c.surname, c.given_name as "givenName",
       c.agency_id as "agencyId", c.agency_name as "agencyName", c.request_id as "requestId"
     from json_to_recordset(?::json)
       as item(id uuid, "accountId" uuid, "credentialEpoch" int, "agencyCode" text)
     join certificate.enrolments e on e.id = item.id
     join directory.accounts_v c on c.id = e.account_id
     where (item."accountId" is null or (c.id = item."accountId" and c.credential_epoch = item."credentialEpoch"))
       and (item."agencyCode" is null or exists (
         with recursive upwards as (
           select code, parent_code from directory.agencies_v where id = c.agency_id
           union
           select above.code, above.parent_code from directory.agencies_v above join upwards on above.code = upwards.parent_code)
         select from upwards where code = item."agencyCode"))
     order by e.id for update of e`,
    [JSON.stringify(items)],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Of the fingerprints (SHA-256, hexadecimal) those of keys that an enrolment has. */
export async function listKeysInUse(transaction: Transaction, fingerprints: readonly string[]): Promise<Set<string>> {
  if (fingerprints.length === 0) return new Set();
  const { rows } = await transaction.raw<{ rows: { fingerprint: string }[] }>(
    `select encode(sha256(subject_public_key_info), 'hex') as fingerprint from certificate.enrolments
     where sha256(subject_public_key_info) = any(?::bytea[]) and subject_public_key_info is not null and state <> 'rejected'`,
    [fingerprints.map((fingerprint) => Buffer.from(fingerprint, 'hex'))],
  );
  return new Set(rows.map(({ fingerprint }) => fingerprint));
}

export async function setKeys(
  transaction: Transaction,
  keys: readonly { id: string; subjectPublicKeyInfo: Buffer }[],
): Promise<void> {
  if (keys.length === 0) return;
  await transaction.raw(
    `update certificate.enrolments e set subject_public_key_info = item.key, updated_at = now()
     from unnest(?::uuid[], ?::bytea[]) as item(id, key) where e.id = item.id`,
    [keys.map(({ id }) => id), keys.map(({ subjectPublicKeyInfo }) => subjectPublicKeyInfo)],
  );
}

/** Of those that still wait; one that was closed meanwhile stays closed, and its certificate is revoked as soon as it is looked at. */
export async function setIssued(transaction: Transaction, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await transaction.raw(
    `update certificate.enrolments e set state = 'issued', updated_at = now()
     from (select id from certificate.enrolments where id = any(?::uuid[]) order by id for update) as locked
     where e.id = locked.id and e.state = 'awaiting_csr'`,
    [[...ids]],
  );
}
