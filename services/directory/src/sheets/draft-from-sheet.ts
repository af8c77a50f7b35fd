/**
 * A draft request made of an agency's sheet, or made anew of the corrected one. All of it is one transaction: the lines, what
 * was found in them, and the file itself, sealed. The same file sent again makes no second draft.
 */
import { createHash } from 'node:crypto';
import type { CorrectedSheetQuery, SheetDraft, SheetQuery } from '@congvu/contracts';
import { brokenConstraint, type Database, type Transaction } from '@congvu/database';
import { invalid, keyReused, ServiceError } from '@congvu/errors';
import { openSheet, type Sheet } from '@congvu/spreadsheet';
import { type AgencyRow, requireAgency } from '../agencies/agency-store.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import type { NationalIdSeal } from '../people/national-id-seal.ts';
import { saveDraft } from '../requests/draft-request.ts';
import { findObstacles } from '../requests/line-obstacles.ts';
import { findByIdempotencyKey, requireSummary } from '../requests/request-store.ts';
import { readRequest } from '../requests/submit-request.ts';
import { closedDetail, hasClosed, loadAgencyNames } from './agency-names.ts';
import type { PersonRow } from './read-person-row.ts';
import { readSheet } from './read-sheet.ts';
import { contactAddressOf, findOpenDraft, findSheet, lockFingerprint, saveSheet } from './sheet-store.ts';

export interface SheetDependencies {
  database: Database;
  seal: NationalIdSeal;
}

export interface SheetUpload {
  file: Buffer;
  mediaType: string;
}

type Submitter = Actor & { agencyCode: string };

export async function draftFromSheet(
  dependencies: SheetDependencies,
  upload: SheetUpload,
  query: SheetQuery,
  actor: Submitter,
  idempotencyKey: string | undefined,
): Promise<{ created: boolean; draft: SheetDraft }> {
  const { database } = dependencies;
  const decision = decisionOf(query);
  const fingerprint = fingerprintOf(actor.id, query, upload);
  const repeated = async (connection: Database | Transaction): Promise<string | undefined> => {
    const byKey = idempotencyKey && (await findByIdempotencyKey(connection, actor.id, idempotencyKey));
    if (byKey && !byKey.body_hash.equals(fingerprint)) throw keyReused();
    return (byKey || (await findOpenDraft(connection, actor.id, fingerprint)))?.id;
  };

  // 1. Sent before? Else open it: what is no sheet is refused before anything is begun.
  const before = await repeated(database);
  if (before) return { created: false, draft: await readDraft(dependencies, before, actor.agencyCode) };
  const agency = await requireAgency(database, query.agencyCode, actor.agencyCode);
  if (hasClosed(agency)) {
    const fault = { pointer: 'query/agencyCode', code: 'agency_closed', detail: closedDetail(agency) };
    throw invalid('request_invalid', [fault]);
  }
  const sheet = await openSheet(upload.file, upload.mediaType);

  // 2. Read and keep it. Two that send the same at once are one after the other.
  try {
    const { id, created } = await database.transaction(async (transaction) => {
      await lockFingerprint(transaction, fingerprint);
      const meanwhile = await repeated(transaction);
      if (meanwhile) return { id: meanwhile, created: false };
      const { contactAddress = null } = query;
      const draft = {
        agency,
        decision,
        contactAddress,
        idempotencyKey: idempotencyKey ?? null,
        fileName: query.fileName,
      };
      return {
        id: await keepSheet(dependencies, transaction, upload, sheet, { ...draft, fingerprint }, actor),
        created: true,
      };
    });
    return { created, draft: await readDraft(dependencies, id, actor.agencyCode) };
  } catch (error) {
    if (brokenConstraint(error) === 'requests_idempotency_unique') throw keyReused();
    throw error;
  }
}

/** The corrected sheet of a draft, or of a request that was returned; the lines that it had are replaced. */
export async function correctSheet(
  dependencies: SheetDependencies,
  upload: SheetUpload,
  replaces: string,
  query: CorrectedSheetQuery,
  actor: Submitter,
  version: number | undefined,
): Promise<SheetDraft> {
  const { database } = dependencies;
  const summary = await requireSummary(database, replaces, actor.agencyCode);
  const agency = await requireAgency(database, summary.agencyCode, actor.agencyCode);
  const sheet = await openSheet(upload.file, upload.mediaType);
  await database.transaction(async (transaction) => {
    const known = await findSheet(transaction, replaces);
    const contactAddress = await contactAddressOf(transaction, replaces);
    await keepSheet(
      dependencies,
      transaction,
      upload,
      sheet,
      {
        agency,
        decision: decisionOf(query) ?? summary.decision,
        contactAddress,
        idempotencyKey: null,
        fileName: query.fileName ?? known?.file_name,
        fingerprint: fingerprintOf(actor.id, query, upload),
        replaces,
        version,
      },
      actor,
    );
  });
  return readDraft(dependencies, replaces, actor.agencyCode);
}

interface SheetOfDraft {
  agency: AgencyRow;
  /** Undefined: that which the sheet names. */
  decision: { number: string; date: string } | null | undefined;
  contactAddress: string | null;
  idempotencyKey: string | null;
  fileName: string | undefined;
  fingerprint: Buffer;
  replaces?: string;
  version?: number | undefined;
}

async function keepSheet(
  { database, seal }: SheetDependencies,
  transaction: Transaction,
  upload: SheetUpload,
  sheet: Sheet,
  { agency, decision, fileName, fingerprint, ...draft }: SheetOfDraft,
  actor: Submitter,
): Promise<string> {
  // 1. The lines, as the file is read.
  const agencies = await loadAgencyNames(transaction, agency.code);
  const request = { id: draft.replaces ?? null, agencyCode: agency.code };
  const findTaken = async (people: readonly PersonRow[]) => {
    const lines = people.flatMap(({ line }, index) => (line ? [{ ...line, lineNumber: index }] : []));
    // Beside the transaction, which is writing the lines before these.
    const obstacles = await findObstacles(database, request, lines);
    return new Map(obstacles.map(({ lineNumber, ...obstacle }) => [people[lineNumber] as PersonRow, obstacle]));
  };
  const reading = await readSheet(sheet, { agency, agencies, seal }, findTaken);
  const id = await saveDraft(
    transaction,
    {
      ...draft,
      agencyId: agency.id,
      submittedBy: actor.id,
      decision: decision ?? reading.decision ?? null,
      bodyHash: fingerprint,
      ip: actor.ip,
    },
    reading.lines(),
  );

  // 2. The file, because it is what comes back with the remarks.
  const { file, mediaType } = upload;
  const { report } = reading;
  const name = fileName ?? `danh-sach${mediaType === 'text/csv' ? '.csv' : '.xlsx'}`;
  await saveSheet(transaction, {
    requestId: id,
    fileName: name,
    mediaType,
    sealed: seal.sealSheet(file, id),
    report,
    fingerprint,
  });
  await insertEvents(transaction, [
    {
      actor,
      action: 'sheet.read',
      subjectType: 'request',
      subjectId: id,
      agencyId: agency.id,
      requestId: id,
      after: { fileSha256: createHash('sha256').update(file).digest('hex'), rows: report.rows, lines: report.lines },
    },
  ]);
  return id;
}

async function readDraft({ database, seal }: SheetDependencies, id: string, scope: string): Promise<SheetDraft> {
  const request = await readRequest(database, id, scope, seal);
  const sheet = await findSheet(database, id);
  if (!sheet) throw sheetGone();
  return { ...request, sheet: sheet.report };
}

/** Both or neither; undefined for neither. */
function decisionOf({ decisionNumber: number, decisionDate: date }: CorrectedSheetQuery) {
  if (number !== undefined && date !== undefined) return { number, date };
  if (number === undefined && date === undefined) return undefined;
  const detail = 'The number and the date of a decision go together: give both or neither.';
  const pointer = number === undefined ? 'query/decisionNumber' : 'query/decisionDate';
  throw invalid('request_invalid', [{ pointer, code: 'decision_incomplete', detail }]);
}

function fingerprintOf(clientId: string, query: object, { file, mediaType }: SheetUpload): Buffer {
  const said = JSON.stringify([clientId, mediaType, Object.entries(query).sort()]);
  return createHash('sha256').update(`${said}\n`).update(file).digest();
}

export const sheetGone = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'sheet_not_found',
    detail:
      'The request was not read from a sheet, or was given other lines or decided since, after which its sheet is kept no longer.',
  });
