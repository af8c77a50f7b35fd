/** Every query on certificate.ocsp_responders. */
import type { Connection, Transaction } from '@congvu/database';

export interface ResponderRow {
  id: string;
  authority_id: string;
  serial_number: Buffer;
  tbs: Buffer;
  certificate: Buffer | null;
  wrapped_private_key: Buffer | null;
  not_before: Date;
  not_after: Date;
}

const rows = (connection: Connection) => connection<ResponderRow>('certificate.ocsp_responders');

/** Of those that are valid already the one that lives longest, signed or still to be. */
export const findNewestResponder = (
  connection: Connection,
  authorityId: string,
  now: Date,
): Promise<ResponderRow | undefined> =>
  rows(connection)
    .where({ authority_id: authorityId })
    .where('not_before', '<=', now)
    .orderBy('not_after', 'desc')
    .first();

export const requireResponder = async (connection: Connection, id: string): Promise<ResponderRow> =>
  (await rows(connection).where({ id }).first()) as ResponderRow;

/** Of several processes one makes the next responder of an authority. */
export const lockResponders = (transaction: Transaction, authorityId: string): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('ocsp responder ' || ?, 0))", [authorityId]);

export const insertResponder = (
  transaction: Transaction,
  responder: Omit<ResponderRow, 'certificate'>,
): Promise<unknown> => rows(transaction).insert(responder);

/** False when another process signed it first; its certificate is the one that counts. */
export const setResponderCertificate = async (
  transaction: Transaction,
  id: string,
  certificate: Buffer,
): Promise<boolean> => (await rows(transaction).where({ id, certificate: null }).update({ certificate })) === 1;

/** A key whose certificate has ended signs nothing that anybody believes. */
export const forgetEndedKeys = (connection: Connection): Promise<unknown> =>
  rows(connection)
    .where('not_after', '<', connection.fn.now())
    .whereNotNull('wrapped_private_key')
    .update({ wrapped_private_key: null });
