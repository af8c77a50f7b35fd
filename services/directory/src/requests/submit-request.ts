/**
 * An agency submits: lines that it sends now, or a draft, or what was returned to it and it has corrected. All of it is taken or
 * none, and the same Idempotency-Key never makes two. Of two for one person the database takes one, and the other is told.
 */
import { createHash } from 'node:crypto';
import type { RequestDetail, RequestInput } from '@congvu/contracts';
import { brokenConstraint, type Connection, type Database, type Transaction } from '@congvu/database';
import { type Fault, invalid, keyReused, ServiceError } from '@congvu/errors';
import { toPage } from '@congvu/http';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import type { NationalIdSeal } from '../people/national-id-seal.ts';
import { type Deadlines, endOfWorkingDay } from './deadlines.ts';
import { findObstacles, type Obstacle } from './line-obstacles.ts';
import { findRepeatedLines, insertLines, type LineFinding, listLines, listRefusals, moveLines } from './line-store.ts';
import { type ReadLines, readLines } from './read-lines.ts';
import { checkAction } from './request-states.ts';
import {
  findByIdempotencyKey,
  insertRequest,
  lockSubmissions,
  requireRequestForUpdate,
  requireSummary,
  setState,
} from './request-store.ts';

export interface SubmitDependencies {
  database: Database;
  seal: NationalIdSeal;
  deadlines: Deadlines;
}

type Requester = Actor & { agencyCode: string };

export async function submitRequest(
  dependencies: SubmitDependencies,
  input: RequestInput,
  actor: Requester,
  idempotencyKey: string | undefined,
): Promise<{ created: boolean; request: RequestDetail }> {
  const { database, seal } = dependencies;
  // 1. The same key again: the same answer, or a conflict when it is not the same request.
  const bodyHash = fingerprintOf(input);
  const findRepeated = async (): Promise<RequestDetail | undefined> => {
    const repeated = idempotencyKey && (await findByIdempotencyKey(database, actor.id, idempotencyKey));
    if (!repeated) return undefined;
    if (!repeated.body_hash.equals(bodyHash)) throw keyReused();
    return readRequest(database, repeated.id, actor.agencyCode, seal);
  };
  const repeated = await findRepeated();
  if (repeated) return { created: false, request: repeated };

  // 2. Read it; check it against the record; keep it, with its audit event.
  const read = await readLines(database, input, actor.agencyCode, seal);
  try {
    refuseFaults(await checkReadLines(database, input, read));
    const id = await database
      .transaction((transaction) =>
        insertSubmitted(transaction, dependencies.deadlines, input, read, actor, {
          idempotencyKey: idempotencyKey ?? null,
          bodyHash,
        }),
      )
      .catch((error) => explainRepeat(error, () => checkReadLines(database, input, read)));
    const request = await readRequest(database, id, actor.agencyCode, seal);
    return { created: true, request: { ...request, corrections: read.corrections } };
  } catch (error) {
    // The fault may be that the same request, sent twice at once, was taken a moment ago.
    const isOurs = error instanceof ServiceError || brokenConstraint(error) === 'requests_idempotency_unique';
    const request = isOurs && (await findRepeated());
    if (request) return { created: false, request };
    throw error;
  }
}

function refuseFaults(faults: readonly Fault[]): void {
  if (faults.length > 0) throw invalid('request_invalid', faults);
}

/** When another request for one of the lines was taken between the check and our turn: every line of which that is so. */
async function explainRepeat(error: unknown, check: () => Promise<Fault[]>): Promise<never> {
  if (!brokenConstraint(error)?.startsWith('request_lines_one_waiting_')) throw error;
  refuseFaults(await check());
  const detail = 'Another request for one of these lines waited a moment ago, and waits no longer; submit again.';
  throw new ServiceError({ kind: 'conflict', code: 'request_overtaken', detail, cause: error });
}

const numbered = ({ lines }: ReadLines) =>
  lines.flatMap((line, index) => (line ? [{ ...line, lineNumber: index + 1 }] : []));

/** Every fault of what was sent, and of how it stands to the record. */
async function checkReadLines(connection: Connection, input: RequestInput, read: ReadLines): Promise<Fault[]> {
  const { agency, faults } = read;
  if (!agency) return faults;
  const obstacles = await findObstacles(connection, { id: null, agencyCode: agency.code }, numbered(read));
  return [...faults, ...obstacles.map((obstacle) => toFault(obstacle, input))];
}

async function insertSubmitted(
  transaction: Transaction,
  deadlines: Deadlines,
  input: RequestInput,
  read: ReadLines,
  actor: Requester,
  key: { idempotencyKey: string | null; bodyHash: Buffer },
): Promise<string> {
  const { agency, corrections } = read;
  if (!agency) throw new Error('a request without its agency was not refused');
  await lockSubmissions(transaction);
  const stored = numbered(read).map((line) => ({
    ...line,
    state: 'submitted' as const,
    sheetRow: null,
    findings: findingsOf(corrections, line.lineNumber),
  }));
  const head = { agencyId: agency.id, submittedBy: actor.id, ...headOf(input), ...key };
  const id = await insertRequest(transaction, head, {
    state: 'submitted',
    dueAt: endOfWorkingDay(new Date(), deadlines.decisionDays),
    correctedCount: stored.filter((line) => line.findings.length > 0).length,
  });
  await insertLines(transaction, id, stored);
  const after = { state: 'submitted', agencyCode: agency.code, lineCount: stored.length, decision: head.decision };
  await recordSubmission(transaction, { id, agencyId: agency.id }, actor, null, after);
  return id;
}

export const fingerprintOf = (input: RequestInput): Buffer =>
  createHash('sha256').update(JSON.stringify(input)).digest();

export const headOf = (input: RequestInput) => ({
  contactAddress: input.contactAddress ?? null,
  decision: input.decision ?? null,
  attachments: input.attachments ?? [],
});

/** What was read of a line differently from how it was written. */
export const findingsOf = (corrections: readonly Fault[], lineNumber: number): LineFinding[] =>
  corrections
    .filter(({ pointer }) => pointer.startsWith(`/lines/${lineNumber - 1}/`))
    .map(({ code, detail }) => ({ code, detail, severity: 'correction' }));

function toFault({ lineNumber, field, code, detail }: Obstacle, input?: RequestInput): Fault {
  const line = `/lines/${lineNumber - 1}`;
  const known = input === undefined || field in (input.lines[lineNumber - 1] ?? {});
  return { pointer: known ? `${line}/${field}` : line, code, detail };
}

/** A draft, or what was returned, with the lines that it has now. */
export async function submitDraft(
  { database, seal, deadlines }: SubmitDependencies,
  id: string,
  submission: { leaveOutRefused: boolean; version: number | undefined },
  actor: Requester,
): Promise<RequestDetail> {
  const submit = async (transaction: Transaction): Promise<void> => {
    // 1. May it be submitted, with the lines that it has?
    const request = await requireRequestForUpdate(transaction, id, actor);
    checkAction(request, 'submit', actor.id, submission.version);
    if (!submission.leaveOutRefused) await refuseRefusedLines(transaction, id);
    refuseFaults(await checkStoredLines(transaction, { id, agencyCode: request.agency_code }));

    // 2. Submitted.
    await lockSubmissions(transaction);
    const lineCount = await moveLines(transaction, id, 'draft', 'submitted');
    if (lineCount === 0) {
      throw invalid('request_invalid', [
        { pointer: '/lines', code: 'too_small', detail: 'A request needs at least one line that is not refused.' },
      ]);
    }
    const dueAt = endOfWorkingDay(new Date(), deadlines.decisionDays);
    await setState(transaction, id, { state: 'submitted', remark: null, dueAt, submitted: true });
    const subject = { id, agencyId: request.agency_id };
    const after = { agencyCode: request.agency_code, lineCount, state: 'submitted' };
    await recordSubmission(transaction, subject, actor, { state: request.state }, after);
  };
  await database.transaction(submit).catch((error) =>
    explainRepeat(error, async () => {
      const { agencyCode } = await requireSummary(database, id, actor.agencyCode);
      return checkStoredLines(database, { id, agencyCode });
    }),
  );
  return readRequest(database, id, actor.agencyCode, seal);
}

/** So many faults are named in an answer at most. */
const mostFaults = 1_000;

async function refuseRefusedLines(transaction: Transaction, id: string): Promise<void> {
  const refusals = await listRefusals(transaction, id, mostFaults);
  if (refusals.length === 0) return;
  throw invalid(
    'lines_refused',
    refusals.map(({ lineNumber, sheetRow, findings }) => {
      const where = findings.find((finding) => finding.severity === 'fault');
      const place = where?.cell ?? (sheetRow === null ? `line ${lineNumber}` : `row ${sheetRow}`);
      const why = where?.detail ?? 'It could not be read.';
      const detail = `${place}: ${why} Correct it, or submit with leaveOutRefused.`;
      return { pointer: `/lines/${lineNumber - 1}`, code: where?.code ?? 'line_refused', detail };
    }),
  );
}

async function checkStoredLines(connection: Connection, request: { id: string; agencyCode: string }): Promise<Fault[]> {
  const repeats = await findRepeatedLines(connection, request.id, mostFaults);
  const faults = repeats.map(({ lineNumber, first }) => ({
    pointer: `/lines/${lineNumber - 1}`,
    code: 'repeated_in_request',
    detail: `Line ${first} of this request asks for the same; each may stand in it once.`,
  }));
  const obstacles = await findObstacles(connection, request, { state: 'draft' }, mostFaults - faults.length);
  return [...faults, ...obstacles.map((obstacle) => toFault(obstacle))];
}

const recordSubmission = (
  transaction: Transaction,
  subject: { id: string; agencyId: string },
  actor: Actor,
  before: object | null,
  after: object,
): Promise<void> =>
  insertEvents(transaction, [
    {
      actor,
      action: 'request.submitted',
      subjectType: 'request',
      subjectId: subject.id,
      agencyId: subject.agencyId,
      requestId: subject.id,
      before,
      after,
    },
  ]);

/** So many lines stand in a request's own answer; the others are read page by page. */
const linesInDetail = 500;

export async function readRequest(
  database: Database,
  id: string,
  scope: string,
  seal: NationalIdSeal,
): Promise<RequestDetail> {
  const summary = await requireSummary(database, id, scope);
  const rows = await listLines(database, { requestId: id }, linesInDetail, 0, seal.open);
  const { items, nextCursor } = toPage(rows, linesInDetail, (line) => [line.lineNumber]);
  return { ...summary, lines: items, linesNextCursor: nextCursor };
}
