/** Drafts: kept as they were read, with what was refused; they reserve nothing, and are submitted whole or without the refused. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { type Draft, type DraftLine, saveDraft } from './draft-request.ts';
import { emptyLine, type LineFinding } from './line-store.ts';

let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;
let agencyId: string;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve']);
  agencyId = (await directory.owner('directory.agencies').where({ code: 'H41.32' }).first()).id;
});
afterAll(() => directory.stop());

let numbers = 0;
function sound(fullName: string, sheetRow: number, findings: LineFinding[] = [], nationalId?: string): DraftLine {
  numbers += 1;
  const id = nationalId ?? `04018000${String(numbers).padStart(4, '0')}`;
  const line = {
    ...emptyLine,
    operation: 'open' as const,
    agencyId,
    kind: 'person' as const,
    fullName,
    birthDate: '1980-03-05',
    nationalIdSealed: directory.seal.seal(id),
    nationalIdHash: directory.seal.index(id),
  };
  return { sheetRow, line, findings };
}
const fault: LineFinding = {
  cell: 'C9',
  code: 'date_year_only',
  detail: 'Only a year stands here.',
  severity: 'fault',
};
const refused = (sheetRow: number): DraftLine => ({
  sheetRow,
  line: undefined,
  findings: [fault],
  shown: { fullName: 'Ngô Văn Hỏng' },
});
const correction: LineFinding = { cell: 'B8', code: 'spaces', detail: 'Spaces were removed.', severity: 'correction' };

async function* batches(...all: DraftLine[][]): AsyncGenerator<DraftLine[]> {
  yield* all;
}
const save = (lines: AsyncIterable<DraftLine[]>, fields: Partial<Draft> = {}) =>
  directory.database.transaction((transaction) =>
    saveDraft(
      transaction,
      {
        agencyId,
        submittedBy: district.id,
        decision: null,
        contactAddress: null,
        idempotencyKey: null,
        bodyHash: Buffer.from('x'),
        ...fields,
      },
      lines,
    ),
  );
const read = async (id: string) =>
  (await supertest(directory.app).get(`/v1/requests/${id}`).set('Authorization', district.bearer).expect(200)).body;
const submit = (id: string, body: object = {}) =>
  supertest(directory.app).post(`/v1/requests/${id}/submit`).set('Authorization', district.bearer).send(body);
const events = (id: string) =>
  directory.owner('directory.audit_events').where({ request_id: id, subject_type: 'request' }).orderBy('id');

it('keeps every line in its order, with what was found, whatever the batches', async () => {
  const id = await save(
    batches([sound('Nguyễn Văn An', 7)], [sound('Trần Thị Bình', 8, [correction]), refused(9)], []),
    { ip: '203.0.113.9' },
  );
  const draft = await read(id);
  expect(draft).toMatchObject({
    state: 'draft',
    waitsFor: 'requester',
    dueAt: null,
    late: false,
    lineCount: 3,
    acceptedCount: 1,
    correctedCount: 1,
    refusedCount: 1,
    version: 1,
  });
  expect(draft.lines).toMatchObject([
    { lineNumber: 1, sheetRow: 7, state: 'draft', fullName: 'Nguyễn Văn An', findings: [] },
    { lineNumber: 2, sheetRow: 8, state: 'draft', findings: [correction] },
    { lineNumber: 3, sheetRow: 9, state: 'refused', fullName: 'Ngô Văn Hỏng', findings: [fault] },
  ]);
  expect(await events(id)).toMatchObject([
    {
      action: 'request.drafted',
      actor_id: district.id,
      source_ip: '203.0.113.9',
      after: { state: 'draft', lineCount: 3, refusedCount: 1, correctedCount: 1 },
    },
  ]);
});

it('reserves nobody, and finds at its submission who has been asked for meanwhile', async () => {
  const line = personLine('Nguyễn Văn Chung');
  const id = await save(batches([sound('Ai Khác', 2)], [sound('Nguyễn Văn Chung', 3, [], line.nationalId)]));
  await directory.submit(district, 'H41.32', [line]);
  const answer = await submit(id);
  expect([answer.status, answer.body.errors]).toMatchObject([
    422,
    [{ pointer: '/lines/1/nationalId', code: 'person_has_request' }],
  ]);
  expect(await read(id)).toMatchObject({ state: 'draft', version: 1 });
});

it('with refused lines is submitted without them only when that is said', async () => {
  const id = await save(batches([refused(9), sound('Nguyễn Văn An', 10), refused(11)]));
  const answer = await submit(id);
  expect([answer.status, answer.body.code]).toEqual([422, 'lines_refused']);
  expect(answer.body.errors).toEqual([
    { pointer: '/lines/0', code: 'date_year_only', detail: expect.stringMatching(/^C9: Only a year stands here\./) },
    { pointer: '/lines/2', code: 'date_year_only', detail: expect.any(String) },
  ]);
  await submit(id, { leaveOutRefused: true }).expect(200);
  const request = await directory.approve(admin, id);
  expect(request).toMatchObject({ state: 'approved', refusedCount: 2 });
  expect(request.lines.map((line) => [line.state, line.account !== null])).toEqual([
    ['refused', false],
    ['approved', true],
    ['refused', false],
  ]);
});

it('without any sound line is not submitted', async () => {
  const id = await save(batches([refused(9)]));
  const answer = await submit(id, { leaveOutRefused: true });
  expect([answer.status, answer.body.errors]).toMatchObject([422, [{ pointer: '/lines', code: 'too_small' }]]);
  expect(await read(id)).toMatchObject({ state: 'draft' });
});

it('finds what stands in it twice', async () => {
  const id = await save(
    batches([sound('Nguyễn Văn An', 2, [], '040080000777')], [sound('Nguyễn Văn Ân', 3, [], '040080000777')]),
  );
  expect((await submit(id)).body.errors).toMatchObject([{ pointer: '/lines/1', code: 'repeated_in_request' }]);
});

describe('replaced', () => {
  it('has the new lines alone, at its next version', async () => {
    const id = await save(batches([sound('Nguyễn Văn An', 2), refused(3)]));
    const decision = { number: '5/QĐ', date: '2026-03-01' };
    expect(await save(batches([sound('Lê Văn Cường', 2)]), { replaces: id, decision })).toBe(id);
    expect(await read(id)).toMatchObject({ state: 'draft', version: 2, lineCount: 1, refusedCount: 0, decision });
    expect((await events(id)).map((event) => event.action)).toEqual(['request.drafted', 'request.corrected']);
  });

  it('is so by its own client alone, of the version it read, and while it can change', async () => {
    const id = await save(batches([sound('Nguyễn Văn An', 2)]));
    const lines = () => batches([sound('Lê Văn Cường', 2)]);
    await expect(save(lines(), { replaces: id, submittedBy: admin.id })).rejects.toMatchObject({ kind: 'not_found' });
    await expect(save(lines(), { replaces: id, version: 7 })).rejects.toMatchObject({ kind: 'stale' });
    await submit(id).expect(200);
    await expect(save(lines(), { replaces: id })).rejects.toMatchObject({ code: 'request_state' });
    expect((await read(id)).lines).toMatchObject([{ fullName: 'Nguyễn Văn An' }]);
  });
});

it('of which the reading fails leaves nothing behind', async () => {
  const key = randomUUID();
  async function* failing(): AsyncGenerator<DraftLine[]> {
    yield [sound('Nguyễn Văn An', 2)];
    throw new Error('the file ended');
  }
  await expect(save(failing(), { idempotencyKey: key })).rejects.toThrow('the file ended');
  expect(await directory.owner('directory.requests').where({ idempotency_key: key })).toEqual([]);
});
