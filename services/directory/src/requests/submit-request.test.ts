/** A request is taken whole or refused with every fault; it is taken once per key; no identity number leaves the service. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let district: TestClient;
let neighbour: TestClient;
let admin: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  neighbour = await directory.client('H41.33', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve']);
});
afterAll(() => directory.stop());

const post = (body: unknown, by = district, key?: string) => {
  const request = supertest(directory.app).post('/v1/requests').set('Authorization', by.bearer);
  if (key !== undefined) request.set('Idempotency-Key', key);
  return request.type('application/json').send(typeof body === 'string' ? body : JSON.stringify(body));
};
const requestOf = (...lines: object[]) => ({ agencyCode: 'H41.32', lines });

/** Everything that a submission can write. */
const record = async () => ({
  requests: await directory.owner('directory.requests').orderBy('id'),
  lines: await directory.owner('directory.request_lines').orderBy(['request_id', 'line_number']),
  events: await directory.owner('directory.audit_events').where({ subject_type: 'request' }).orderBy('id'),
});

async function refuses(body: unknown, faults: readonly string[], by = district): Promise<supertest.Response> {
  const before = await record();
  const answer = await post(body, by);
  const found = (answer.body.errors ?? []).map(
    (one: { pointer: string; code: string }) => `${one.pointer} ${one.code}`,
  );
  expect({ status: answer.status, code: answer.body.code, faults: found.sort() }).toEqual({
    status: 422,
    code: 'request_invalid',
    faults: [...faults].sort(),
  });
  expect(await record()).toEqual(before);
  return answer;
}

describe('a sound request', () => {
  it('is kept with its lines and its event, and answered with where it is', async () => {
    const person = personLine('  Ông: HUỲNH THANH ĐIỀN ', {
      birthDate: '05/03/1980',
      title: 'Chủ tịch',
      mobile: '+84 912 345 678',
      sex: 'male',
      agencyCode: '000.05.32.H41',
    });
    const body = {
      agencyCode: 'H41.32',
      contactAddress: 'vanthu@quynhluu.test',
      decision: { number: '12/QĐ-UBND', date: '2026-01-15' },
      lines: [person, { kind: 'agency' }],
    };
    const answer = await post(body);
    expect([answer.status, answer.headers.location, answer.headers.etag]).toEqual([
      201,
      `/v1/requests/${answer.body.id}`,
      '"1"',
    ]);
    expect(answer.body).toMatchObject({
      agencyCode: 'H41.32',
      agencyName: 'UBND huyện Quỳnh Lưu',
      state: 'submitted',
      submittedBy: { id: district.id, name: district.name },
      decidedBy: null,
      decision: body.decision,
      lineCount: 2,
      fulfilledCount: 0,
      version: 1,
    });
    const masked = `*********${person.nationalId.slice(-3)}`;
    expect(answer.body.lines).toEqual([
      {
        lineNumber: 1,
        kind: 'person',
        agencyCode: 'H41.32.05',
        state: 'submitted',
        fullName: 'Huỳnh Thanh Điền',
        birthDate: '1980-03-05',
        title: 'Chủ tịch',
        nationalId: masked,
        certificate: 'server_key',
        account: null,
        sheetRow: null,
        operation: 'open',
        reason: null,
        target: null,
        findings: expect.arrayContaining([
          { code: 'capitals', detail: expect.stringContaining('Điền'), severity: 'correction' },
        ]),
        remark: null,
        failure: null,
      },
      expect.objectContaining({
        lineNumber: 2,
        kind: 'agency',
        agencyCode: 'H41.32',
        nationalId: null,
        certificate: 'none',
      }),
    ]);
    const corrections = answer.body.corrections.map(
      (one: { pointer: string; code: string }) => `${one.pointer} ${one.code}`,
    );
    expect(corrections).toEqual(
      expect.arrayContaining([
        '/lines/0/fullName capitals',
        '/lines/0/fullName honorific_removed',
        '/lines/0/fullName spaces',
      ]),
    );

    const [row] = await directory.owner('directory.requests').where({ id: answer.body.id });
    expect(row).toMatchObject({
      state: 'submitted',
      submitted_by: district.id,
      contact_address: 'vanthu@quynhluu.test',
      decision_number: '12/QĐ-UBND',
      idempotency_key: null,
      decided_by: null,
    });
    const [line] = await directory.owner('directory.request_lines').where({ request_id: row.id, line_number: 1 });
    expect(line).toMatchObject({ full_name: 'Huỳnh Thanh Điền', sex: 'male', mobile: '0912345678' });
    expect(directory.seal.open(line.national_id_sealed)).toBe(person.nationalId);
    expect(line.national_id_hash).toEqual(directory.seal.index(person.nationalId));

    const [event] = await directory.owner('directory.audit_events').where({ request_id: row.id });
    expect(event).toMatchObject({
      service: 'directory',
      actor_kind: 'client',
      actor_id: district.id,
      actor_name: district.name,
      action: 'request.submitted',
      subject_id: row.id,
      agency_id: row.agency_id,
      before: null,
      after: { agencyCode: 'H41.32', lineCount: 2, decision: body.decision },
    });
  });

  it('is read by its agency and by those above, and is not there for others', async () => {
    const { id } = await directory.submit(district, 'H41.32.05', [personLine('Nguyễn Văn An')]);
    for (const by of [district, admin]) {
      const { body, headers } = await supertest(directory.app)
        .get(`/v1/requests/${id}`)
        .set('Authorization', by.bearer)
        .expect(200);
      expect([body.id, headers.etag, 'corrections' in body]).toEqual([id, '"1"', false]);
    }
    const hidden = await supertest(directory.app).get(`/v1/requests/${id}`).set('Authorization', neighbour.bearer);
    const absent = await supertest(directory.app)
      .get(`/v1/requests/${randomUUID()}`)
      .set('Authorization', neighbour.bearer);
    for (const { status, body } of [hidden, absent]) expect([status, body.code]).toEqual([404, 'request_not_found']);
    expect(hidden.body.detail).toBe(absent.body.detail);
  });

  it('keeps a source address that a proxy made up out of the event, and is taken all the same', async () => {
    for (const [forwarded, kept] of [
      ['203.0.113.7', '203.0.113.7'],
      ['not-an-address', null],
      ['203.0.113.7:4711', null],
    ] as const) {
      const answer = await supertest(directory.appWith({ trustProxy: 'loopback' }))
        .post('/v1/requests')
        .set('Authorization', district.bearer)
        .set('X-Forwarded-For', forwarded)
        .send(requestOf(personLine('Nguyễn Văn An')));
      expect(answer.status).toBe(201);
      const [event] = await directory.owner('directory.audit_events').where({ request_id: answer.body.id });
      expect(event.source_ip).toBe(kept);
    }
  });
});

describe('the same key', () => {
  it('gives the same request for the same body, however its fields are ordered', async () => {
    const key = randomUUID();
    const { kind, fullName, ...fields } = personLine('Nguyễn Văn An');
    const first = await post({ agencyCode: 'H41.32', lines: [{ kind, fullName, ...fields }] }, district, key);
    const second = await post({ lines: [{ ...fields, fullName, kind }], agencyCode: 'H41.32' }, district, key);
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.headers.location).toBe(first.headers.location);
    expect(second.body.id).toBe(first.body.id);
    expect(await directory.owner('directory.requests').where({ idempotency_key: key })).toHaveLength(1);
    expect(await directory.owner('directory.audit_events').where({ request_id: first.body.id })).toHaveLength(1);
  });

  it('is refused with another body', async () => {
    const key = randomUUID();
    await post(requestOf(personLine('Nguyễn Văn An')), district, key).expect(201);
    const before = await record();
    const answer = await post(requestOf(personLine('Nguyễn Văn An')), district, key);
    expect([answer.status, answer.body.code]).toEqual([409, 'idempotency_key_reused']);
    expect(await record()).toEqual(before);
  });

  it('is another key for another client', async () => {
    const key = randomUUID();
    const mine = await post(requestOf(personLine('Nguyễn Văn An')), district, key);
    const theirs = await post({ agencyCode: 'H41.33', lines: [personLine('Nguyễn Văn An')] }, neighbour, key);
    expect([mine.status, theirs.status]).toEqual([201, 201]);
    expect(theirs.body.id).not.toBe(mine.body.id);
  });

  it('makes one request of twenty that arrive at once', async () => {
    const key = randomUUID();
    const body = requestOf(personLine('Nguyễn Văn An'), personLine('Trần Thị Bình'));
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(body, district, key)));
    const statuses = answers.map((answer) => answer.status).sort();
    expect(statuses).toEqual([...Array<number>(19).fill(200), 201]);
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    const rows = await directory.owner('directory.requests').where({ idempotency_key: key });
    expect(rows).toHaveLength(1);
    expect(await directory.owner('directory.request_lines').where({ request_id: rows[0].id })).toHaveLength(2);
    expect(await directory.owner('directory.audit_events').where({ request_id: rows[0].id })).toHaveLength(1);
  });

  it('finds the request that was committed between the look for the key and the look for the people', async () => {
    const body = requestOf(personLine('Nguyễn Văn An'));
    const first = await post(body, district, randomUUID());
    const key = randomUUID();
    // Until this commits, the key is not there to be seen, and whoever reads the agencies has to wait.
    const blocker = await directory.owner.transaction();
    await blocker.raw('lock table directory.agencies in access exclusive mode');
    await blocker('directory.requests').where({ id: first.body.id }).update({ idempotency_key: key });
    const second = post(body, district, key).then((answer) => answer);
    const waiting = "select 1 from pg_locks where not granted and relation = 'directory.agencies'::regclass";
    while ((await directory.owner.raw(waiting)).rows.length === 0) await sleep(5);
    await blocker.commit();
    const { status, body: answer } = await second;
    expect([status, answer.id]).toEqual([200, first.body.id]);
  });

  it.each(['', 'with space', 'x'.repeat(129), 'dấu'])('has a form, and %p has not', async (key) => {
    const encoded = Buffer.from(key).toString('latin1');
    const answer = await post(requestOf(personLine('Nguyễn Văn An')), district, encoded);
    expect(answer.body.errors).toMatchObject([{ pointer: 'header/Idempotency-Key' }]);
  });
});

describe('faults', () => {
  it('are all found at once, each where it stands', async () => {
    const twice = personLine('Lê Văn Cường');
    await refuses(
      {
        agencyCode: 'H41.99',
        lines: [
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32.99' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.33' }), // not ours
          personLine('Nguyễn Văn An', { agencyCode: 'quynhluu' }),
          personLine('   ', { agencyCode: 'H41.32' }),
          personLine('An', { agencyCode: 'H41.32' }),
          personLine('Nguyễn Văn 4n', { agencyCode: 'H41.32' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32', birthDate: '31/02/1980' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32', birthDate: '1980' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32', birthDate: '2023-01-01' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32', nationalId: '123456789' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32', nationalId: '04008000000x' }),
          personLine('Nguyễn Văn An', { agencyCode: 'H41.32', mobile: '12' }),
          { ...twice, agencyCode: 'H41.32' },
          { ...twice, agencyCode: 'H41.32', fullName: 'Lê Văn Dũng' },
          { ...twice, agencyCode: 'H41.32', nationalId: personLine('x').nationalId },
          { kind: 'agency', agencyCode: 'H41.32' },
          { kind: 'agency', agencyCode: '000.00.32.H41' },
        ],
      },
      [
        '/agencyCode agency_not_found',
        '/lines/0/agencyCode agency_not_found',
        '/lines/1/agencyCode agency_not_found',
        '/lines/2/agencyCode agency_code_form',
        '/lines/3/fullName name_empty',
        '/lines/4/fullName name_single_word',
        '/lines/5/fullName name_digit',
        '/lines/6/birthDate date_impossible',
        '/lines/7/birthDate date_year_only',
        '/lines/8/birthDate birth_date_implausible',
        '/lines/9/nationalId national_id_old',
        '/lines/10/nationalId national_id_characters',
        '/lines/11/mobile phone_form',
        '/lines/13/nationalId repeated_in_request',
        '/lines/14/fullName repeated_in_request',
        '/lines/16/agencyCode repeated_in_request',
      ],
    );
  });

  it('of the form are all found at once too', async () => {
    await refuses(
      {
        agencyCode: 'H4',
        contactAddress: 'nobody',
        decision: { number: ' ', date: '2026-02-30', signer: 'x' },
        lines: [
          { ...personLine('Nguyễn Văn An'), phone: '0912345678', sex: 'x', certificate: 'gold' },
          { kind: 'robot' },
          { kind: 'person' },
          { kind: 'agency', certificate: 'server_key' },
          { ...personLine('Nguyễn Văn An'), nationalId: 40080000001 },
        ],
        'a/b': 1,
      },
      [
        '/agencyCode too_small',
        '/contactAddress invalid_format',
        '/decision/number too_small',
        '/decision/date invalid_format',
        '/decision/signer unknown_field',
        '/lines/0/phone unknown_field',
        '/lines/0/sex invalid_value',
        '/lines/0/certificate invalid_value',
        '/lines/1/kind invalid_union',
        '/lines/2/fullName invalid_type',
        '/lines/2/birthDate invalid_type',
        '/lines/2/nationalId invalid_type',
        '/lines/3/certificate invalid_value',
        '/lines/4/nationalId invalid_type',
        '/a~1b unknown_field',
      ],
    );
  });

  it('include dates that no calendar has, and characters that no text has', async () => {
    const line = personLine('Nguyễn Văn An', { title: 'Chủ\u0000tịch' });
    await refuses(requestOf(line), ['/lines/0/title character']);
    const decision = { number: '1', date: '0000-01-01' };
    await refuses({ ...requestOf(personLine('Nguyễn Văn An')), decision }, ['/decision/date date_out_of_range']);
  });

  it('include no line, and more lines than are taken', async () => {
    await refuses(requestOf(), ['/lines too_small']);
    await refuses(requestOf(...Array.from({ length: 501 }, () => personLine('Nguyễn Văn An'))), ['/lines too_big']);
  });

  it('include an agency that has closed', async () => {
    const closed = directory.owner('directory.agencies').where({ code: 'H41.32.33' });
    await closed.clone().update({ valid_to: '2020-01-01' });
    await refuses(requestOf(personLine('Nguyễn Văn An', { agencyCode: 'H41.32.33' })), [
      '/lines/0/agencyCode agency_closed',
    ]);
    await closed.clone().update({ valid_to: null });
  });

  it('include a person for whom another request waits, or who has an account', async () => {
    const waiting = personLine('Nguyễn Văn Chờ');
    await directory.submit(district, 'H41.32', [waiting]);
    await refuses(requestOf(personLine('Trần Văn Khác'), waiting), ['/lines/1/nationalId person_has_request']);

    const known = personLine('Nguyễn Văn Có');
    const { id } = await directory.submit(district, 'H41.32', [known]);
    await directory.approve(admin, id);
    // In another form and under another name: the number says who it is.
    const spaced = known.nationalId.replace(/^(\d{3})(\d{3})/, '$1 $2 ');
    await refuses(requestOf({ ...known, fullName: 'Nguyễn Văn Khác', nationalId: spaced }), [
      '/lines/0/nationalId person_has_account',
    ]);
    const elsewhere = { agencyCode: 'H41.33', lines: [known] };
    await refuses(elsewhere, ['/lines/0/nationalId person_has_account'], neighbour);
  });

  it.each(['{"agencyCode": "H41.32", "lines": [', '"text"', ''])(
    'answer 400 to what is no JSON object: %p',
    async (body) => {
      const before = await record();
      const answer = await post(body);
      expect([answer.status < 500, [400, 422].includes(answer.status)]).toEqual([true, true]);
      expect(await record()).toEqual(before);
    },
  );

  it('answer 400 to JSON that is cut short, 413 to too much of it, 400 to another type', async () => {
    const cut = await post('{"agencyCode": "H41.32", "lines": [');
    expect([cut.status, cut.body.code]).toEqual([400, 'malformed_json']);
    const large = await post(requestOf({ ...personLine('Nguyễn Văn An'), title: 'x'.repeat(1_100_000) }));
    expect([large.status, large.body.code]).toEqual([413, 'body_too_large']);
    const form = await supertest(directory.app)
      .post('/v1/requests')
      .set('Authorization', district.bearer)
      .type('form')
      .send({ agencyCode: 'H41.32' });
    expect([form.status, form.body.code]).toEqual([400, 'content_type']);
  });
});

it('never shows an identity number: in no answer, no error and no line of the log', async () => {
  const lines = [personLine('Nguyễn Văn Kín'), personLine('Nguyễn Văn Hở')];
  const numbers = [...lines.map((line) => line.nationalId), '04008077777', '0400807777777', '040080-77-7777'];
  const read = (path: string, by = district) => supertest(directory.app).get(path).set('Authorization', by.bearer);
  const key = randomUUID();
  const first = await post(requestOf(...lines), district, key);
  const { id } = first.body;
  const answers = [
    first,
    await post(requestOf(...lines), district, key),
    await post(requestOf(...lines)), // waits already
    await post(requestOf(lines[0] as object, lines[0] as object)),
    ...(await Promise.all(numbers.map((nationalId) => post(requestOf(personLine('Nguyễn Văn An', { nationalId })))))),
    await post(`${JSON.stringify(requestOf(...lines)).slice(0, -1)},`), // malformed behind the number
    await post(requestOf({ ...lines[0], nationalId: { number: lines[0]?.nationalId } })),
    await read(`/v1/requests/${id}`),
    await supertest(directory.app).post(`/v1/requests/${id}/approve`).set('Authorization', admin.bearer).send({}),
    await read(`/v1/requests/${id}`, admin),
    await post(requestOf(...lines)), // has an account now
  ];
  expect(answers.map((answer) => answer.status)).toEqual([
    201, 200, 422, 422, 422, 422, 422, 422, 201, 400, 422, 200, 200, 200, 422,
  ]);
  const log = directory.logged();
  expect(log).toContain(id); // it is the log of these requests
  const events = JSON.stringify(await directory.owner('directory.audit_events'));
  const jobs = JSON.stringify(await directory.owner('directory_jobs._private_jobs'));
  const shown = answers.map((answer) => answer.text + JSON.stringify(answer.headers)).join('\n');
  for (const number of numbers) {
    for (const text of [shown, log, events, jobs]) expect(text.includes(number)).toBe(false);
  }
  // At rest it is sealed: no column of any row has it in the clear.
  const rows = JSON.stringify([
    await directory.owner('directory.people'),
    await directory.owner('directory.request_lines'),
  ]);
  for (const number of numbers) expect(rows.includes(number)).toBe(false);
  const [sealed] = await directory.owner('directory.request_lines').where({ request_id: id, line_number: 1 });
  expect(sealed.national_id_sealed.includes(lines[0]?.nationalId)).toBe(false);
});
