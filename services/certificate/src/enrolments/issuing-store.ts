/** The queries by which many enrolments are issued at once: what is read of each, under lock, and what is written. */
import { prepared, type Transaction } from '@congvu/database';
import type { EnrolmentRow } from './enrolment-store.ts';

/**
 * Locks the enrolments until the transaction ends, always in the same order, so that nobody waits for each other in a circle. Those
 * that are not there are left out.
 */
export async function lockToIssue(
  transaction: Transaction,
  ids: readonly string[],
): Promise<Map<string, EnrolmentRow>> {
  const { rows } = await prepared<EnrolmentRow>(
    transaction,
    'lock-to-issue',
    'select * from certificate.enrolments where id = any(?::uuid[]) order by id for update',
    [ids],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Of pairs of an agency and the code of one that may be above it, or the same, those where it is, as "id code". */
export async function listWithin(
  transaction: Transaction,
  pairs: readonly { agencyId: string; above: string }[],
): Promise<Set<string>> {
  if (pairs.length === 0) return new Set();
  // Upwards it is a few steps, where the subtree of a province is a thousand.
  const { rows } = await prepared<{ pair: string }>(
    transaction,
    'agencies-within',
    `select item.id || ' ' || item.above as pair from unnest(?::uuid[], ?::text[]) as item(id, above)
     where exists (
       with recursive upwards as (
         select code, parent_code from directory.agencies_v where id = item.id
         union
         select above.code, above.parent_code from directory.agencies_v above join upwards on above.code = upwards.parent_code)
       select from upwards where code = item.above)`,
    [pairs.map(({ agencyId }) => agencyId), pairs.map(({ above }) => above)],
  );
  return new Set(rows.map(({ pair }) => pair));
}

/** Of the fingerprints (SHA-256, hexadecimal) those of keys that an enrolment has; a renewal that kept its key has the one of another. */
export async function listKeysInUse(transaction: Transaction, fingerprints: readonly string[]): Promise<Set<string>> {
  if (fingerprints.length === 0) return new Set();
  const { rows } = await prepared<{ fingerprint: string }>(
    transaction,
    'keys-in-use',
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
  await prepared(
    transaction,
    'set-keys',
    `update certificate.enrolments e set subject_public_key_info = item.key, updated_at = now()
     from unnest(?::uuid[], ?::bytea[]) as item(id, key) where e.id = item.id`,
    [keys.map(({ id }) => id), keys.map(({ subjectPublicKeyInfo }) => subjectPublicKeyInfo)],
  );
}

/** Of those that still wait; one that was closed meanwhile stays closed, and its certificate is revoked as soon as it is looked at. */
export async function setIssued(transaction: Transaction, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await prepared(
    transaction,
    'set-issued',
    `update certificate.enrolments e set state = 'issued', updated_at = now()
     from (select id from certificate.enrolments where id = any(?::uuid[]) order by id for update) as locked
     where e.id = locked.id and e.state = 'awaiting_csr'`,
    [ids],
  );
}
