/** Other lines for a request that is a draft or was returned; taken whole or refused with every fault, as at its submission. */
import type { RequestDetail, RequestInput } from '@congvu/contracts';
import { invalid } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { deleteSheet } from '../sheets/sheet-store.ts';
import { type DraftLine, saveDraft } from './draft-request.ts';
import { readLines } from './read-lines.ts';
import { requireRequestForUpdate } from './request-store.ts';
import { findingsOf, fingerprintOf, headOf, readRequest, type SubmitDependencies } from './submit-request.ts';

export async function correctRequest(
  { database, seal }: SubmitDependencies,
  id: string,
  input: RequestInput,
  version: number | undefined,
  actor: Actor & { agencyCode: string },
): Promise<RequestDetail> {
  const { agency, lines, faults, corrections } = await readLines(database, input, actor.agencyCode, seal);
  await database.transaction(async (transaction) => {
    const request = await requireRequestForUpdate(transaction, id, actor);
    if (agency && agency.id !== request.agency_id) {
      const detail = `This request is for ${request.agency_code}; for another agency, submit another.`;
      faults.push({ pointer: '/agencyCode', code: 'agency_changed', detail });
    }
    if (faults.length > 0) throw invalid('request_invalid', faults);
    const draft = {
      agencyId: request.agency_id,
      submittedBy: actor.id,
      ip: actor.ip,
      ...headOf(input),
      idempotencyKey: null,
      bodyHash: fingerprintOf(input),
      replaces: id,
      version,
    };
    const drafted = lines.map((line, index) => ({
      sheetRow: null,
      line,
      findings: findingsOf(corrections, index + 1),
    }));
    await saveDraft(transaction, draft, oneBatch(drafted));
    // The lines are no longer those of the sheet that the request may have been read from.
    await deleteSheet(transaction, id);
  });
  return { ...(await readRequest(database, id, actor.agencyCode, seal)), corrections };
}

async function* oneBatch(lines: DraftLine[]): AsyncGenerator<DraftLine[]> {
  yield lines;
}
