/** A request that can still change: made as a draft, or given other lines while it is a draft or was returned. */
import type { Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { insertEvents } from '../audit/audit-store.ts';
import { deleteLines, emptyLine, insertLines, type LineFinding, type NewLine } from './line-store.ts';

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
  idempotencyKey: string | null;
  bodyHash: Buffer;
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
  const head = {
    agency_id: draft.agencyId,
    contact_address: draft.contactAddress,
    decision_number: draft.decision?.number ?? null,
    decision_date: draft.decision?.date ?? null,
  };
  let id = draft.replaces;
  if (id === undefined) {
    const [row] = await transaction('directory.requests')
      .insert({
        ...head,
        state: 'draft',
        submitted_by: draft.submittedBy,
        idempotency_key: draft.idempotencyKey,
        body_hash: draft.bodyHash,
      })
      .returning<{ id: string }[]>('id');
    id = row?.id as string;
  } else {
    const found = await transaction('directory.requests')
      .where({ id, submitted_by: draft.submittedBy })
      .forUpdate()
      .first('state', 'version');
    const wrong = (kind: 'conflict' | 'stale', code: string, detail: string) =>
      new ServiceError({ kind, code, detail });
    if (draft.version !== undefined && draft.version !== found?.version)
      throw wrong('stale', 'stale_version', 'The request has changed; read it again.');
    if (!/^(draft|returned)$/.test(found?.state))
      throw wrong('conflict', 'request_decided', `The request is ${found?.state} already.`);
    await deleteLines(transaction, id);
    await transaction('directory.requests')
      .where({ id })
      .update({ ...head, version: transaction.raw('version + 1') });
  }
  let count = 0;
  for await (const batch of lines) {
    await insertLines(
      transaction,
      id,
      batch.map((one, index) => ({
        ...(one.line ?? {
          ...emptyLine,
          operation: 'open',
          agencyId: draft.agencyId,
          fullName: one.shown?.fullName ?? null,
          title: one.shown?.title ?? null,
        }),
        sheetRow: one.sheetRow,
        findings: one.findings,
        lineNumber: count + index + 1,
        state: one.line ? 'draft' : 'refused',
      })),
    );
    count += batch.length;
  }
  await insertEvents(transaction, [
    {
      actor: { kind: 'client', id: draft.submittedBy, ip: draft.ip ?? null, agencyCode: null },
      action: draft.replaces === undefined ? 'request.drafted' : 'request.corrected',
      subjectType: 'request',
      subjectId: id,
      agencyId: draft.agencyId,
      requestId: id,
      after: { lineCount: count },
    },
  ]);
  return id;
}
