/** A request that goes back and forth: returned with remarks, corrected, submitted again; and one approved line by line. */
import type { RequestDetail } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { endOfWorkingDay } from './deadlines.ts';
import { lockSubmissions } from './request-store.ts';

let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve']);
});
afterAll(() => directory.stop());

const act = (id: string, verb: string, by: TestClient, body: object = {}, ifMatch?: string) => {
  const request = supertest(directory.app).post(`/v1/requests/${id}/${verb}`).set('Authorization', by.bearer);
  if (ifMatch !== undefined) request.set('If-Match', ifMatch);
  return request.send(body);
};
const correct = (id: string, body: object, by = district, ifMatch?: string) => {
  const request = supertest(directory.app).put(`/v1/requests/${id}`).set('Authorization', by.bearer);
  if (ifMatch !== undefined) request.set('If-Match', ifMatch);
  return request.send(body);
};
const events = (id: string) =>
  directory.owner('directory.audit_events').where({ request_id: id, subject_type: 'request' }).orderBy('id');
const notices = async (kind: string): Promise<string[]> =>
  (await directory.owner('mailbox_jobs._private_jobs').whereLike('key', `notice:${kind}:%`).pluck('key')).map((key) =>
    key.slice(`notice:${kind}:`.length),
  );
const linesOf = (id: string) =>
  directory.owner('directory.request_lines').where({ request_id: id }).orderBy('line_number');
const submit = (...names: string[]) =>
  directory.submit(
    district,
    'H41.32',
    names.map((name) => personLine(name)),
  );

describe('a return', () => {
  it('says why, of the whole and of single lines, by when to correct, and writes to the agency', async () => {
    const { id } = await submit('Nguyễn Văn An', 'Trần Thị Bình');
    const lines = [{ lineNumber: 2, remark: 'Sai ngày sinh' }];
    const answer = await act(id, 'return', admin, { remark: 'Thiếu quyết định', lines }, '"1"');
    expect([answer.status, answer.headers.etag]).toEqual([200, '"2"']);
    expect(answer.body).toMatchObject({
      state: 'returned',
      waitsFor: 'requester',
      remark: 'Thiếu quyết định',
      decidedBy: null,
      dueAt: endOfWorkingDay(new Date(), 10).toISOString(),
      late: false,
      lines: [
        { state: 'draft', remark: null },
        { state: 'draft', remark: 'Sai ngày sinh' },
      ],
    });
    expect((await events(id)).at(-1)).toMatchObject({
      action: 'request.returned',
      actor_id: admin.id,
      before: { state: 'submitted' },
      after: { state: 'returned', remark: 'Thiếu quyết định', lineRemarks: lines },
    });
    const returns = await directory.owner('directory.request_returns').where({ request_id: id });
    expect(returns).toMatchObject([{ returned_by: admin.id, remark: 'Thiếu quyết định', lines }]);
    expect(await notices('return')).toContain(returns[0].id);
    expect(await notices('decision')).not.toContain(id);
  });

  it('needs a remark, lines that are there, and somebody else than the submitter', async () => {
    const { id } = await submit('Nguyễn Văn An');
    expect((await act(id, 'return', admin)).body.errors).toMatchObject([{ pointer: '/remark' }]);
    const unknown = await act(id, 'return', admin, { remark: 'x', lines: [{ lineNumber: 2, remark: 'y' }] });
    expect([unknown.status, unknown.body.errors[0].code]).toEqual([422, 'line_not_found']);
    const both = await directory.client('H41.32', ['requests:submit', 'requests:approve']);
    const own = await directory.submit(both, 'H41.32', [personLine('Lê Văn Cường')]);
    expect((await act(own.id, 'return', both, { remark: 'x' })).body.code).toBe('own_request');
    expect(await linesOf(id)).toMatchObject([{ state: 'submitted', remark: null }]);
  });

  it('reserves nobody: the person may be asked for by another request meanwhile', async () => {
    const line = personLine('Nguyễn Văn Chung');
    const { id } = await directory.submit(district, 'H41.32', [line]);
    await act(id, 'return', admin, { remark: 'x' }).expect(200);
    await directory.submit(district, 'H41.32', [line]);
    const again = await act(id, 'submit', district);
    expect([again.status, again.body.errors]).toMatchObject([
      422,
      [{ pointer: '/lines/0/nationalId', code: 'person_has_request' }],
    ]);
    expect(await linesOf(id)).toMatchObject([{ state: 'draft' }]);
  });
});

describe('a correction', () => {
  const returned = async (...names: string[]): Promise<RequestDetail> => {
    const { id } = await submit(...names);
    return (await act(id, 'return', admin, { remark: 'Sửa lại' }).expect(200)).body;
  };

  it('replaces the lines, is submitted again, and is then approved with what it says now', async () => {
    const { id } = await returned('Nguyễn Văn An', 'Trần Thị Bình');
    const corrected = {
      agencyCode: 'H41.32',
      decision: { number: '7/QĐ', date: '2026-02-01' },
      lines: [personLine(' LÊ  VĂN Cường ')],
    };
    const answer = await correct(id, corrected, district, '"2"');
    expect([answer.status, answer.headers.etag]).toEqual([200, '"3"']);
    expect(answer.body).toMatchObject({
      state: 'returned',
      decision: corrected.decision,
      lineCount: 1,
      correctedCount: 1,
      lines: [{ lineNumber: 1, state: 'draft', fullName: 'Lê Văn Cường', remark: null }],
      corrections: [{ pointer: '/lines/0/fullName' }, {}],
    });
    const again = await act(id, 'submit', district, {}, '"3"');
    expect(again.body).toMatchObject({
      state: 'submitted',
      waitsFor: 'approver',
      dueAt: endOfWorkingDay(new Date(), 3).toISOString(),
      remark: null,
      version: 4,
    });
    const { body } = await act(id, 'approve', admin, {}, '"4"');
    expect(body.lines).toMatchObject([{ state: 'approved', account: { username: 'cuonglv' } }]);
    expect((await events(id)).map((event) => [event.action, event.before?.state, event.after.state])).toEqual([
      ['request.submitted', undefined, 'submitted'],
      ['request.returned', 'submitted', 'returned'],
      ['request.corrected', 'returned', 'returned'],
      ['request.submitted', 'returned', 'submitted'],
      ['request.approved', 'submitted', 'approved'],
    ]);
  });

  it('is refused with every fault, and nothing of it is kept', async () => {
    const { id } = await returned('Nguyễn Văn An');
    const before = [await linesOf(id), await events(id)];
    const lines = [personLine('An'), personLine('Lê Văn Cường', { birthDate: '31/02/1980' })];
    const answer = await correct(id, { agencyCode: 'H41.32.05', lines });
    expect(answer.status).toBe(422);
    expect(answer.body.errors.map((one: { pointer: string; code: string }) => `${one.pointer} ${one.code}`)).toEqual([
      '/lines/0/fullName name_single_word',
      '/lines/1/birthDate date_impossible',
      '/agencyCode agency_changed',
    ]);
    expect([await linesOf(id), await events(id)]).toEqual(before);
  });

  it('is for the submitter alone, of the version that was read, and not after it was submitted', async () => {
    const { id } = await returned('Nguyễn Văn An');
    const body = { agencyCode: 'H41.32', lines: [personLine('Lê Văn Cường')] };
    const colleague = await directory.client('H41.32', ['requests:submit']);
    expect((await correct(id, body, colleague)).body.code).toBe('request_not_found'); // not theirs to change
    expect((await correct(id, body, district, '"1"')).body.code).toBe('stale_version');
    expect((await act(id, 'submit', district, {}, '"1"')).body.code).toBe('stale_version');
    expect((await act(id, 'submit', colleague)).body.code).toBe('not_submitter');
    await act(id, 'submit', district).expect(200);
    expect((await correct(id, body)).body.code).toBe('request_state');
    expect((await act(id, 'submit', district)).body.code).toBe('request_state');
  });

  it('can be left: a returned request is cancelled', async () => {
    const { id } = await returned('Nguyễn Văn An');
    expect((await act(id, 'cancel', district)).body).toMatchObject({ state: 'cancelled', waitsFor: null, dueAt: null });
    expect(await linesOf(id)).toMatchObject([{ state: 'cancelled' }]);
  });
});

describe('at the same moment', () => {
  const outcomes = async (...answers: supertest.Test[]): Promise<[number, string | undefined][]> =>
    (await Promise.all(answers)).map(({ status, body }) => [status, body.code]);
  const oneWins = (found: [number, string | undefined][]) => {
    expect(found.filter(([status]) => status === 200)).toHaveLength(1);
    expect(found.filter(([status]) => status === 409)).toHaveLength(found.length - 1);
  };

  it('an approval and a cancellation: one of them', async () => {
    for (let round = 0; round < 4; round += 1) {
      const { id } = await submit('Nguyễn Văn An');
      oneWins(await outcomes(act(id, 'approve', admin), act(id, 'cancel', district)));
      const [line] = await linesOf(id);
      const { state } = await directory.owner('directory.requests').where({ id }).first();
      expect([state, line.account_id !== null]).toEqual(
        state === 'approved' ? ['approved', true] : ['cancelled', false],
      );
    }
  });

  it('a return and an approval: one of them', async () => {
    const { id } = await submit('Nguyễn Văn An');
    oneWins(await outcomes(act(id, 'return', admin, { remark: 'x' }), act(id, 'approve', admin)));
  });

  it('two submissions of one returned request: one of them', async () => {
    const { id } = await submit('Nguyễn Văn An');
    await act(id, 'return', admin, { remark: 'x' }).expect(200);
    oneWins(await outcomes(act(id, 'submit', district), act(id, 'submit', district)));
    expect((await events(id)).filter((event) => event.action === 'request.submitted')).toHaveLength(2);
  });

  it('six requests for one person: one of them, and the others are told', async () => {
    const line = personLine('Nguyễn Văn Sáu');
    const other = personLine('Trần Thị Khác');
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        supertest(directory.app)
          .post('/v1/requests')
          .set('Authorization', district.bearer)
          // In either order, so that they would wait for each other if they could.
          .send({ agencyCode: 'H41.32', lines: index % 2 ? [line, other] : [other, line] }),
      ),
    );
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, 422, 422, 422, 422, 422]);
    for (const { body } of answers.filter((answer) => answer.status === 422)) {
      expect(body.errors).toMatchObject([{ code: 'person_has_request' }, { code: 'person_has_request' }]);
    }
    const hash = directory.seal.index(line.nationalId);
    expect(await directory.owner('directory.request_lines').where({ national_id_hash: hash })).toHaveLength(1);
  });
});

describe('while another submission is written', () => {
  it('what has faults is refused at once; of two drafts that were checked together one is taken, and the other is told', async () => {
    const lines = [personLine('Nguyễn Văn Chín'), personLine('Trần Thị Mười')];
    const ids: string[] = [];
    for (const order of [lines, [...lines].reverse()]) {
      const { id } = await directory.submit(district, 'H41.32', order);
      await act(id, 'return', admin, { remark: 'x' }).expect(200);
      ids.push(id);
    }
    const { pending } = await directory.owner.transaction(async (transaction) => {
      await lockSubmissions(transaction);
      const refused = await supertest(directory.app)
        .post('/v1/requests')
        .set('Authorization', district.bearer)
        .send({ agencyCode: 'H41.32', lines: [personLine('Lê Văn Sai', { birthDate: '30/02/1990' })] });
      expect(refused.status).toBe(422);
      const pending = Promise.all(ids.map((id) => act(id, 'submit', district).then((answer) => answer)));
      for (let waiting = 0; waiting < 2; ) {
        const { rows } = await transaction.raw(
          "select count(*)::int as waiting from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
        );
        waiting = rows[0].waiting;
      }
      return { pending };
    });
    const answers = await pending;
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 422]);
    expect(answers.find(({ status }) => status === 422)?.body.errors).toMatchObject([
      { pointer: '/lines/0/nationalId', code: 'person_has_request' },
      { pointer: '/lines/1/nationalId', code: 'person_has_request' },
    ]);
    const states = (await Promise.all(ids.map(linesOf))).map((own) => own.map((one) => one.state).join());
    expect(states.sort()).toEqual(['draft,draft', 'submitted,submitted']);
  });
});

describe('an approval by line', () => {
  it('opens those alone; the others are rejected, with their remarks', async () => {
    const { id } = await submit('Nguyễn Văn Một', 'Trần Thị Hai', 'Lê Văn Ba');
    const lineRemarks = [{ lineNumber: 2, remark: 'Đã nghỉ việc' }];
    const { status, body } = await act(id, 'approve', admin, { lines: [3, 1], lineRemarks });
    expect(status).toBe(200);
    expect(body).toMatchObject({ state: 'approved', lineCount: 3, rejectedCount: 1 });
    expect(body.lines).toMatchObject([
      { state: 'approved', account: { username: 'motnv' } },
      { state: 'rejected', remark: 'Đã nghỉ việc', account: null },
      { state: 'approved', account: { username: 'balv' } },
    ]);
    const event = (await events(id)).find((one) => one.action === 'request.approved');
    expect(event.after).toMatchObject({ lines: [3, 1], lineRemarks });
    const [decision] = (await directory.owner.raw('select * from directory.decisions_v where request_id = ?', [id]))
      .rows;
    expect(decision).toMatchObject({ line_count: 3, opened_count: 2, rejected_count: 1 });
  });

  it('or rejects those alone that are named, and opens the rest', async () => {
    const { id } = await submit('Nguyễn Văn Bốn', 'Trần Thị Năm', 'Lê Văn Bảy');
    const { body } = await act(id, 'approve', admin, { exceptLines: [2] });
    expect(body.lines.map((line: { state: string }) => line.state)).toEqual(['approved', 'rejected', 'approved']);
    const other = await submit('Nguyễn Văn Tám');
    const both = await act(other.id, 'approve', admin, { lines: [1], exceptLines: [1] });
    expect(both.body.errors).toMatchObject([{ pointer: '/exceptLines' }]);
    const none = await act(other.id, 'approve', admin, { exceptLines: [1] });
    expect([none.status, none.body.errors]).toMatchObject([422, [{ code: 'nothing_approved' }]]);
    const huge = await act(other.id, 'approve', admin, { lines: [3_000_000_000] });
    expect([huge.status, huge.body.errors]).toMatchObject([422, [{ pointer: '/lines/0' }]]);
  });

  it('names lines that are there', async () => {
    const { id } = await submit('Nguyễn Văn Một');
    const { status, body } = await act(id, 'approve', admin, { lines: [1, 2, 9] });
    expect([status, body.errors.map((one: { detail: string }) => one.detail)]).toEqual([
      422,
      [expect.stringContaining('line 2'), expect.stringContaining('line 9')],
    ]);
    expect(await linesOf(id)).toMatchObject([{ state: 'submitted' }]);
  });
});

it('an agency’s mailbox is asked for once: not when it has one, not while another request waits', async () => {
  const line = { kind: 'agency', agencyCode: 'H41.32.05' };
  const post = () =>
    supertest(directory.app)
      .post('/v1/requests')
      .set('Authorization', district.bearer)
      .send({ agencyCode: 'H41.32', lines: [line] });
  const first = await post();
  const waiting = await post();
  expect(waiting.body.errors).toMatchObject([{ pointer: '/lines/0/agencyCode', code: 'agency_has_request' }]);
  await directory.approve(admin, first.body.id);
  expect((await post()).body.errors).toMatchObject([{ pointer: '/lines/0/agencyCode', code: 'agency_has_account' }]);
});

it('further documents are kept by reference', async () => {
  const attachments = [
    { number: '8/TB', date: '2026-02-03', issuer: 'Sở Nội vụ' },
    { number: '9/TB', date: '2026-02-04' },
  ];
  const post = (attached: object[]) =>
    supertest(directory.app)
      .post('/v1/requests')
      .set('Authorization', district.bearer)
      .send({ agencyCode: 'H41.32', attachments: attached, lines: [personLine('Nguyễn Văn An')] });
  expect((await post(attachments)).body.attachments).toEqual(attachments);
  expect((await post([{ number: '8', date: '0000-01-01' }])).body.errors).toMatchObject([
    { pointer: '/attachments/0/date' },
  ]);
});
