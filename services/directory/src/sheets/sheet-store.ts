/** Every query on directory.sheets: the files that drafts were read from, sealed, until their request is decided. */
import type { SheetReport } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';

export interface SheetRow {
  file_name: string;
  media_type: string;
  report: SheetReport;
}

export async function saveSheet(
  transaction: Transaction,
  sheet: {
    requestId: string;
    fileName: string;
    mediaType: string;
    sealed: Buffer;
    report: SheetReport;
    fingerprint: Buffer;
  },
): Promise<void> {
  await transaction('directory.sheets')
    .insert({
      request_id: sheet.requestId,
      file_name: sheet.fileName,
      media_type: sheet.mediaType,
      sealed: sheet.sealed,
      report: JSON.stringify(sheet.report),
      fingerprint: sheet.fingerprint,
    })
    .onConflict('request_id')
    .merge(['file_name', 'media_type', 'sealed', 'report', 'fingerprint']);
}

export const findSheet = (connection: Connection, requestId: string): Promise<SheetRow | undefined> =>
  connection('directory.sheets').where({ request_id: requestId }).first('file_name', 'media_type', 'report');

const pieceBytes = 1024 * 1024;

/** Fetched in pieces: whole, the driver would hold it three times. */
export async function readSealedSheet(connection: Connection, requestId: string): Promise<Buffer | undefined> {
  const sheets = () => connection('directory.sheets').where({ request_id: requestId });
  const found = await sheets().first<{ length: number }>(connection.raw('octet_length(sealed) as length'));
  if (!found) return undefined;
  const sealed = Buffer.alloc(found.length);
  for (let at = 0; at < sealed.length; at += pieceBytes) {
    const piece = await sheets().first<{ piece: Buffer }>(
      connection.raw('substring(sealed from ?::int for ?::int) as piece', [at + 1, pieceBytes]),
    );
    piece?.piece.copy(sealed, at);
  }
  return sealed;
}

/** The open draft that the same client made of the same file, saying the same. */
export const findOpenDraft = (
  connection: Connection,
  clientId: string,
  fingerprint: Buffer,
): Promise<{ id: string } | undefined> =>
  connection('directory.sheets as s')
    .join('directory.requests as r', 'r.id', 's.request_id')
    .where({ 's.fingerprint': fingerprint, 'r.submitted_by': clientId, 'r.state': 'draft' })
    .orderBy('r.submitted_at')
    .first('r.id');

/** Whom the request named, which its corrected sheet does not say again. */
export async function contactAddressOf(connection: Connection, requestId: string): Promise<string | null> {
  const row = await connection('directory.requests').where({ id: requestId }).first('contact_address');
  return row?.contact_address ?? null;
}

/** Until the transaction ends, nobody else reads the same file for the same client. */
export const lockFingerprint = (transaction: Transaction, fingerprint: Buffer): Promise<unknown> =>
  transaction.raw('select pg_advisory_xact_lock(hashtextextended(?, 0))', [`sheet ${fingerprint.toString('hex')}`]);

/** For once nothing of it can be corrected any more: its identity numbers have no business here then. */
export async function deleteSheet(transaction: Transaction, requestId: string): Promise<void> {
  await transaction('directory.sheets').where({ request_id: requestId }).delete();
}
