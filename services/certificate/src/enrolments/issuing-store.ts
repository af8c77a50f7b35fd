/** The queries by which many enrolments are issued at once: what is read of each, under lock, and what is written. */
import type { Transaction } from '@congvu/database';
import type { Scope } from '../certificates/certificate-store.ts';
import type { EnrolmentRow } from './enrolment-store.ts';

/**
 * Locks the enrolments until the transaction ends, always in the same order, so that nobody waits for each other in a circle. Those
 * outside of their scope are left out, like those that are not there.
 */
export async function lockToIssue(
  transaction: Transaction,
  wanted: readonly { id: string; scope: Scope | undefined }[],
): Promise<Map<string, EnrolmentRow>> {
  const items = wanted.map(({ id, scope }) => ({ id, ...scope }));
  // From the account's agency upwards: a few steps, where the subtree of a province is a thousand.
  const { rows } = await transaction.raw<{ rows: EnrolmentRow[] }>(
    `select e.*
     from json_to_recordset(?::json) as item(id uuid, "accountId" uuid, "credentialEpoch" int, "agencyCode" text)
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

/** Of the fingerprints (SHA-256, hexadecimal) those of keys that an enrolment has; a renewal that kept its key has the one of another. */
export async function listKeysInUse(transaction: Transaction, fingerprints: readonly string[]): Promise<Set<string>> {
  if (fingerprints.length === 0) return new Set();
  const { rows } = await transaction.raw<{ rows: { fingerprint: string }[] }>(
    `select encode(sha256(subject_public_key_info), 'hex') as fingerprint from certificate.enrolments
     where sha256(subject_public_key_info) = any(?::bytea[]) and subject_public_key_info is not null and not same_key`,
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
