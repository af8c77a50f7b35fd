/** An approval opens accounts whole or not at all: people, usernames by the policy, each once and for ever, events and jobs. */

import type { RequestDetail } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve', 'requests:submit']);
});
afterAll(() => directory.stop());

const open = async (agencyCode: string, ...lines: Parameters<TestDirectory['submit']>[2][number][]) => {
  const by = agencyCode.startsWith('H41.32') ? district : await directory.client('H41', ['requests:submit']);
  return directory.approve(admin, (await directory.submit(by, agencyCode, lines)).id);
};
const usernames = (request: RequestDetail) => request.lines.map((line) => line.account?.username);
const jobsOf = async (schema: string, account: string) =>
  directory
    .owner(`${schema}_jobs._private_jobs as job`)
    .join(`${schema}_jobs._private_tasks as task`, 'task.id', 'job.task_id')
    .whereRaw('job.payload::text like ?', [`%${account}%`])
    .pluck('task.identifier');

it('opens accounts of people and of the agency, with everything that hangs on them', async () => {
  const person = personLine('Huỳnh Thanh Điền', { title: 'Chủ tịch', sex: 'male', mobile: '0912345678' });
  const token = personLine('Trần Thị Bình', { certificate: 'csr', agencyCode: 'H41.32.05' });
  const request = await open('H41.32', person, token, { kind: 'agency', certificate: 'none' });

  // 1. Usernames and addresses by the policy.
  expect(request.lines.map((line) => line.account?.address)).toEqual([
    'dienht@nghean.gov.vn',
    'binhtt@nghean.gov.vn',
    'quynhluu@nghean.gov.vn',
  ]);

  // 2. The accounts, each bound to its person, its agency and its line.
  const ids = request.lines.map((line) => line.account?.id as string);
  const [dien, binh, agency] = await Promise.all(
    ids.map((id) => directory.owner('directory.accounts').where({ id }).first()),
  );
  const codeOf = new Map((await directory.owner('directory.agencies')).map((row) => [row.id, row.code]));
  expect(dien).toMatchObject({
    kind: 'person',
    state: 'active',
    username: 'dienht',
    display_name: 'Huỳnh Thanh Điền',
    surname: 'Huỳnh',
    given_name: 'Điền',
    title: 'Chủ tịch',
    certificate_path: 'server_key',
    version: 1,
    entry_version: 0,
  });
  expect([dien, binh, agency].map((row) => codeOf.get(row.agency_id))).toEqual(['H41.32', 'H41.32.05', 'H41.32']);
  expect(agency).toMatchObject({
    kind: 'agency',
    display_name: 'UBND huyện Quỳnh Lưu',
    person_id: null,
    certificate_path: 'none',
  });
  const [record] = await directory.owner('directory.people').where({ id: dien.person_id });
  expect(record).toMatchObject({
    full_name: 'Huỳnh Thanh Điền',
    surname: 'Huỳnh',
    middle_names: 'Thanh',
    given_name: 'Điền',
    search_key: 'huynh thanh dien',
    sex: 'male',
    mobile: '0912345678',
  });
  expect(directory.seal.open(record.national_id_sealed)).toBe(person.nationalId);

  // 3. The parts that each consists of; the agency has no certificate.
  const parts = await directory.owner('directory.provisioning').whereIn('account_id', ids).where({ state: 'waiting' });
  const partsOf = (id: string) =>
    parts
      .filter((part) => part.account_id === id)
      .map((part) => part.part)
      .sort();
  expect(ids.map(partsOf)).toEqual([
    ['certificate', 'entry', 'mailbox'],
    ['certificate', 'entry', 'mailbox'],
    ['entry', 'mailbox'],
  ]);

  // 4. The names are taken for good.
  const taken = await directory.owner('directory.usernames').whereIn('account_id', ids).orderBy('username');
  expect(taken.map((row) => [row.username, row.account_id])).toEqual([
    ['binhtt', binh.id],
    ['dienht', dien.id],
    ['quynhluu', agency.id],
  ]);

  // 5. An event for each, and the entry's job; the other services wait for the entry.
  const events = await directory
    .owner('directory.audit_events')
    .where({ action: 'account.opened', request_id: request.id })
    .orderBy('id');
  expect(events.map((event) => event.subject_id)).toEqual(ids);
  expect(events[0]).toMatchObject({
    actor_kind: 'client',
    actor_id: admin.id,
    actor_name: admin.name,
    agency_id: dien.agency_id,
    before: null,
    after: { username: 'dienht', address: 'dienht@nghean.gov.vn', kind: 'person', title: 'Chủ tịch' },
  });
  for (const id of ids) {
    expect(await jobsOf('directory', id)).toEqual(['converge-entries']);
    expect([await jobsOf('mailbox', id), await jobsOf('certificate', id)]).toEqual([[], []]);
  }
});

describe('namesakes', () => {
  it('get the next candidate: with the agency, then numbered', async () => {
    const request = await open(
      'H41.05',
      ...Array.from({ length: 4 }, (_, year) => personLine('Hồ Thị Điểm', { birthDate: `198${year}-01-01` })),
    );
    const [{ short_name: agency }] = await directory.owner('directory.agencies').where({ code: 'H41.05' });
    expect(usernames(request)).toEqual(['diemht', `diemht.${agency}`, `diemht2.${agency}`, `diemht3.${agency}`]);
    // "Điểm" and "Diễm" are one in an address.
    expect(usernames(await open('H41.05', personLine('Hà Thu Diễm')))).toEqual([`diemht4.${agency}`]);
    const second = await open('H41.32', personLine('Hoàng Trung Điểm'));
    expect(usernames(second)).toEqual(['diemht.quynhluu']);
  });

  it('get distinct names when four approvals of ten each run at once', async () => {
    const requests = await Promise.all(
      Array.from({ length: 4 }, (_, batch) =>
        directory.submit(
          district,
          'H41.32',
          Array.from({ length: 10 }, (_, index) =>
            personLine('Nguyễn Văn Trùng', { birthDate: `19${70 + batch}-01-${10 + index}` }),
          ),
        ),
      ),
    );
    const answers = await Promise.all(
      requests.map(({ id }) =>
        supertest(directory.app).post(`/v1/requests/${id}/approve`).set('Authorization', admin.bearer).send({}),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 200]);
    const given = answers.flatMap((answer) => usernames(answer.body));
    const numbered = Array.from({ length: 38 }, (_, index) => `trungnv${index + 2}.quynhluu`);
    expect([...given].sort()).toEqual(['trungnv', 'trungnv.quynhluu', ...numbered].sort());
    const inRecord = await directory.owner('directory.accounts').whereLike('username', 'trungnv%').pluck('username');
    expect(inRecord.sort()).toEqual([...given].sort());
  });

  it('never get the short name of an agency, which gets it itself', async () => {
    // A name made to hit the short name of the commune: given name "Quỳnh", initials "v", "a", "n" → quynhvan.
    const [commune] = await directory.owner('directory.agencies').where({ short_name: 'quynhvan.quynhluu' });
    await directory.owner('directory.agencies').where({ id: commune.id }).update({ short_name: 'quynhvan' });
    const request = await open(commune.code, personLine('Vũ Anh Như Quỳnh'), { kind: 'agency', certificate: 'none' });
    expect(usernames(request)).toEqual(['quynhvan.quynhvan', 'quynhvan']);
  });
});

describe('a name once given', () => {
  it('is never given again, not even when its account is retired', async () => {
    const [line] = (await open('H41.32', personLine('Vương Quốc Tuyệt'))).lines;
    expect(line?.account?.username).toBe('tuyetvq');
    await directory.owner('directory.accounts').where({ id: line?.account?.id }).update({ state: 'retired' });
    expect(usernames(await open('H41.32', personLine('Vương Quốc Tuyệt')))).toEqual(['tuyetvq.quynhluu']);
  });

  it('cannot be freed by the service', async () => {
    const names = () => directory.database('directory.usernames').where({ username: 'tuyetvq' });
    await expect(names().delete()).rejects.toMatchObject({ code: '42501' });
    await expect(names().update({ username: 'x' })).rejects.toMatchObject({ code: '42501' });
    await expect(directory.database.raw('truncate directory.usernames')).rejects.toMatchObject({ code: '42501' });
    expect(await names()).toHaveLength(1);
  });
});

describe('someone who has an account by another request', () => {
  /** Two requests for one person that both wait, as when they were sent at the same moment. */
  async function twoRequests(line: Parameters<TestDirectory['submit']>[2][number], ...others: (typeof line)[]) {
    const first = await directory.submit(district, 'H41.32', [line]);
    const waiting = () => directory.owner('directory.request_lines').where({ request_id: first.id });
    await waiting().update({ state: 'cancelled' });
    const second = await directory.submit(district, 'H41.32', [...others, line]);
    await waiting().update({ state: 'submitted' });
    return { first, second };
  }
  const record = async () => ({
    requests: await directory.owner('directory.requests').orderBy('id'),
    lines: await directory.owner('directory.request_lines').orderBy('id'),
    accounts: await directory.owner('directory.accounts').orderBy('id'),
    people: await directory.owner('directory.people').orderBy('id'),
    usernames: await directory.owner('directory.usernames').orderBy('username'),
    events: await directory.owner('directory.audit_events').orderBy('id'),
    jobs: await directory.owner('directory_jobs._private_jobs').orderBy('id').select('id', 'key', 'revision'),
    notices: await directory.owner('mailbox_jobs._private_jobs').orderBy('id').select('id', 'key', 'revision'),
  });
  const approve = (id: string) =>
    supertest(directory.app).post(`/v1/requests/${id}/approve`).set('Authorization', admin.bearer).send({});

  it('is found at the approval, and nothing is half done', async () => {
    const { first, second } = await twoRequests(personLine('Nguyễn Hữu Đôi'), personLine('Nguyễn Hữu Lẻ'));
    await directory.approve(admin, first.id);
    const before = await record();
    const answer = await approve(second.id);
    expect([answer.status, answer.body.code]).toEqual([409, 'account_exists']);
    expect(await record()).toEqual(before);
    expect(directory.logged()).toContain('accounts_one_per_person');
    expect(directory.logged()).not.toContain('Nguyễn Hữu');
  });

  it('is found when both are approved at once', async () => {
    const { first, second } = await twoRequests(personLine('Nguyễn Hữu Song'));
    const answers = await Promise.all([approve(first.id), approve(second.id)]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 409]);
    expect(await directory.owner('directory.accounts').where({ display_name: 'Nguyễn Hữu Song' })).toHaveLength(1);
    expect(await directory.owner('directory.usernames').whereLike('username', 'songnh%')).toHaveLength(1);
  });

  it('holds for the mailbox of an agency too', async () => {
    const { first, second } = await twoRequests({ kind: 'agency', agencyCode: 'H41.32.07', certificate: 'none' });
    await directory.approve(admin, first.id);
    const before = await record();
    const answer = await approve(second.id);
    expect([answer.status, answer.body.code]).toEqual([409, 'account_exists']);
    expect(await record()).toEqual(before);
  });

  it('but whose account is retired gets another, and is one person still', async () => {
    const line = personLine('Nguyễn Hữu Lại');
    const [first] = (await open('H41.32', line)).lines;
    await directory.owner('directory.accounts').where({ id: first?.account?.id }).update({ state: 'retired' });
    const [second] = (await open('H41.32', line)).lines;
    expect(second?.account?.id).not.toBe(first?.account?.id);
    const ids = [first?.account?.id as string, second?.account?.id as string];
    const rows = await directory.owner('directory.accounts').whereIn('id', ids);
    expect(new Set(rows.map((row) => row.person_id)).size).toBe(1);
  });
});
