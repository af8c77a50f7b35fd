/** Every query on certificate.key_pool: keys made ahead, each wrapped for the enrolment that will have its id. */
import type { Connection, Transaction } from '@congvu/database';

export interface PooledKey {
  /** What the key is bound to: the enrolment that takes it gets this id. */
  id: string;
  wrappedPrivateKey: Buffer;
  subjectPublicKeyInfo: Buffer;
}

export interface PoolPlace {
  keyKind: string;
  wrappingKeyId: string;
}

export async function insertPooledKey(
  connection: Connection,
  place: PoolPlace,
  { id, wrappedPrivateKey, subjectPublicKeyInfo }: PooledKey,
): Promise<void> {
  await connection('certificate.key_pool').insert({
    id,
    key_kind: place.keyKind,
    wrapping_key_id: place.wrappingKeyId,
    wrapped_private_key: wrappedPrivateKey,
    subject_public_key_info: subjectPublicKeyInfo,
  });
}

/** Takes one out for good, if the transaction commits; nobody waits for one that somebody else is taking. */
export async function takePooledKey(transaction: Transaction, place: PoolPlace): Promise<PooledKey | undefined> {
  const { rows } = await transaction.raw<{ rows: PooledKey[] }>(
    `delete from certificate.key_pool where id = (
       select id from certificate.key_pool where key_kind = ? and wrapping_key_id = ? limit 1 for update skip locked)
     returning id, wrapped_private_key as "wrappedPrivateKey", subject_public_key_info as "subjectPublicKeyInfo"`,
    [place.keyKind, place.wrappingKeyId],
  );
  return rows[0];
}

export async function countPooledKeys(connection: Connection, place: PoolPlace): Promise<number> {
  const { rows } = await connection.raw<{ rows: { count: number }[] }>(
    'select count(*)::int as count from certificate.key_pool where key_kind = ? and wrapping_key_id = ?',
    [place.keyKind, place.wrappingKeyId],
  );
  return rows[0]?.count ?? 0;
}

/** Of another kind than is made today, or under a wrapping key that is no longer used: nobody has seen them. */
export async function deleteOtherKeys(connection: Connection, place: PoolPlace): Promise<void> {
  await connection('certificate.key_pool')
    .whereNot({ key_kind: place.keyKind })
    .orWhereNot({ wrapping_key_id: place.wrappingKeyId })
    .delete();
}
