/** An agency asks for accounts. The whole request is taken or none of it; the same Idempotency-Key never makes two. */
import { createHash } from 'node:crypto';
import type { RequestDetail, RequestInput } from '@congvu/contracts';
import { brokenConstraint, type Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import type { NationalIdSeal } from '../people/national-id-seal.ts';
import { listLines } from './line-store.ts';
import { readLines } from './read-lines.ts';
import { findByIdempotencyKey, insertRequest, requireSummary } from './request-store.ts';

export interface SubmitDependencies {
  database: Database;
  seal: NationalIdSeal;
}

export async function submitRequest(
  { database, seal }: SubmitDependencies,
  input: RequestInput,
  actor: Actor & { agencyCode: string },
  idempotencyKey: string | undefined,
): Promise<{ created: boolean; request: RequestDetail }> {
  // 1. The same key again: the same answer, or a conflict when it is not the same request.
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  const findRepeated = async (): Promise<RequestDetail | undefined> => {
    const repeated = idempotencyKey && (await findByIdempotencyKey(database, actor.id, idempotencyKey));
    if (!repeated) return undefined;
    if (!repeated.body_hash.equals(bodyHash)) throw keyReused();
    return readRequest(database, repeated.id, actor.agencyCode, seal);
  };
  const repeated = await findRepeated();
  if (repeated) return { created: false, request: repeated };

  // 2. Read it; every fault at once. The fault may be that the same request, sent twice, was taken a moment ago.
  const { agency, lines, faults, corrections } = await readLines(database, input, actor.agencyCode, seal);
  if (faults.length > 0 || !agency) {
    const request = await findRepeated();
    if (request) return { created: false, request };
    throw invalid('request_invalid', faults);
  }

  // 3. Keep it, with its audit event.
  try {
    const id = await database.transaction(async (transaction) => {
      const requestId = await insertRequest(transaction, {
        agencyId: agency.id,
        submittedBy: actor.id,
        contactAddress: input.contactAddress ?? null,
        decision: input.decision ?? null,
        idempotencyKey: idempotencyKey ?? null,
        bodyHash,
        lines,
      });
      const after = { agencyCode: agency.code, lineCount: lines.length, decision: input.decision ?? null };
      await insertEvents(transaction, [
        {
          actor,
          action: 'request.submitted',
          subjectType: 'request',
          subjectId: requestId,
          agencyId: agency.id,
          requestId,
          after,
        },
      ]);
      return requestId;
    });
    return { created: true, request: { ...(await readRequest(database, id, actor.agencyCode, seal)), corrections } };
  } catch (error) {
    // Two with the same key at the same time: the second finds what the first made.
    if (brokenConstraint(error) === 'requests_idempotency_unique') {
      return submitRequest({ database, seal }, input, actor, idempotencyKey);
    }
    throw error;
  }
}

export async function readRequest(
  database: Database,
  id: string,
  scope: string,
  seal: NationalIdSeal,
): Promise<RequestDetail> {
  const summary = await requireSummary(database, id, scope);
  return { ...summary, lines: (await listLines(database, { requestId: id }, 500, 0, seal.open)).slice(0, 500) };
}

const keyReused = (): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'idempotency_key_reused',
    detail: 'This Idempotency-Key made another request; use a new key for a new request.',
  });
