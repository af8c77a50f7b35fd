/** Every query on certificate.crls. */
import type { Connection, Transaction } from '@congvu/database';

export interface CrlRow {
  authority_id: string;
  crl_number: string;
  this_update: Date;
  next_update: Date;
  crl: Buffer;
}

export const findNewestCrl = (connection: Connection, authorityId: string): Promise<CrlRow | undefined> =>
  connection<CrlRow>('certificate.crls').where({ authority_id: authorityId }).orderBy('crl_number', 'desc').first();

/** One CRL of an authority is made at a time, so that a higher number never says less. Issuing goes on beside it. */
export const lockAuthority = (transaction: Transaction, authorityId: string): Promise<unknown> =>
  transaction('certificate.authorities').where({ id: authorityId }).forNoKeyUpdate().first('id');

const kept = 10;

export async function insertCrl(
  transaction: Transaction,
  crl: { authorityId: string; crlNumber: bigint; thisUpdate: Date; nextUpdate: Date; crl: Buffer; entryCount: number },
): Promise<void> {
  await transaction('certificate.crls').insert({
    authority_id: crl.authorityId,
    crl_number: crl.crlNumber.toString(),
    this_update: crl.thisUpdate,
    next_update: crl.nextUpdate,
    crl: crl.crl,
    entry_count: crl.entryCount,
  });
  await transaction('certificate.crls')
    .where({ authority_id: crl.authorityId })
    .where('crl_number', '<=', (crl.crlNumber - BigInt(kept)).toString())
    .delete();
}
