/**
 * A request that can still change: made as a draft, or given other lines while it is a draft or was returned. Its lines come
 * as a stream and are kept a batch at a time, all in the caller's transaction; a draft reserves nothing and nobody.
 */
import type { Attachment } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { insertEvents } from '../audit/audit-store.ts';
import { deleteLines, emptyLine, insertLines, type LineFinding, type NewLine } from './line-store.ts';
import { checkAction } from './request-states.ts';
import { insertRequest, requireRequestForUpdate, saveHead } from './request-store.ts';

export type { LineFinding, NewLine } from './line-store.ts';

export interface DraftLine {
  /** 1-based, as in the file; null when the lines came as JSON. */
  sheetRow: number | null;
  /** Undefined: refused, and findings say why. */
  line: NewLine | undefined;
  findings: readonly LineFinding[];
  /** What could be read of a refused line. */
  shown?: { fullName?: string | undefined; title?: string | undefined };
}

export interface Draft {
  agencyId: string;
  submittedBy: string;
  decision: { number: string; date: string } | null;
  contactAddress: string | null;
  /** Of a new one; a replacement keeps those that it was made with. */
  idempotencyKey: string | null;
  bodyHash: Buffer;
  attachments?: readonly Attachment[];
  /** A request of the same client, draft or returned, whose lines these replace. */
  replaces?: string | undefined;
  /** That the client read of the replaced one (If-Match). */
  version?: number | undefined;
  /** Where it came from, for the audit event. */
  ip?: string | null;
}

/** Returns the id of the request. */
export async function saveDraft(
  transaction: Transaction,
  draft: Draft,
  lines: AsyncIterable<DraftLine[]>,
): Promise<string> {
  // 1. The request: a new one, or one whose lines may be replaced.
  const id = draft.replaces ?? (await insertRequest(transaction, draft, { state: 'draft' }));
  const before = draft.replaces === undefined ? undefined : await emptyRequest(transaction, draft, draft.replaces);

  // 2. Its lines, numbered as they come.
  const counts = { lineCount: 0, refusedCount: 0, correctedCount: 0 };
  let written = Promise.resolve();
  for await (const batch of lines) {
    const stored = batch.map((one, index) => toStored(one, counts.lineCount + index + 1, draft.agencyId));
    // While one batch is written the next one is read.
    await written;
    written = insertLines(transaction, id, stored);
    written.catch(() => undefined); // thrown below, or the reading failed before
    counts.lineCount += stored.length;
    counts.refusedCount += stored.filter((line) => line.state === 'refused').length;
    counts.correctedCount += stored.filter(isCorrected).length;
  }
  await written;
  await saveHead(transaction, id, draft, counts, before === undefined);

  // 3. The record of it.
  await insertEvents(transaction, [
    {
      actor: { kind: 'client', id: draft.submittedBy, ip: draft.ip ?? null, agencyCode: null },
      action: before ? 'request.corrected' : 'request.drafted',
      subjectType: 'request',
      subjectId: id,
      agencyId: draft.agencyId,
      requestId: id,
      before: before ?? null,
      after: { state: before?.state ?? 'draft', ...counts, decision: draft.decision },
    },
  ]);
  return id;
}

const isCorrected = (line: { state: string; findings: readonly LineFinding[] }): boolean =>
  line.state !== 'refused' && line.findings.some((finding) => finding.severity === 'correction');

async function emptyRequest(transaction: Transaction, draft: Draft, id: string): Promise<{ state: string }> {
  const request = await requireRequestForUpdate(transaction, id, { submittedBy: draft.submittedBy });
  checkAction(request, 'correct', draft.submittedBy, draft.version);
  if (request.agency_id !== draft.agencyId) throw new Error('the agency of a request does not change');
  await deleteLines(transaction, id);
  return { state: request.state };
}

function toStored({ sheetRow, line, findings, shown }: DraftLine, lineNumber: number, agencyId: string) {
  if (line) return { ...line, sheetRow, findings, lineNumber, state: 'draft' as const };
  const known = { fullName: shown?.fullName ?? null, title: shown?.title ?? null };
  const nothing = { ...emptyLine, ...known, operation: 'open' as const, agencyId };
  return { ...nothing, sheetRow, findings, lineNumber, state: 'refused' as const };
}
