/** An approval opens accounts whole or not at all: people, usernames by the policy, each once and for ever, events and jobs. */
import { randomUUID } from 'node:crypto';
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

it('belongs to an agency that is there, for whoever writes an account', async () => {
  const request = await open('H41.32', personLine('Hoàng Nơi Ở'));
  const account = await directory.owner('directory.accounts').where({ id: request.lines[0]?.account?.id }).first();
  const refused = { constraint: 'accounts_agency_id_fkey' };
  const moved = directory.owner('directory.accounts').where({ id: account.id }).update({ agency_id: randomUUID() });
  await expect(moved).rejects.toMatchObject(refused);
  const copy = {
    ...account,
    id: randomUUID(),
    person_id: randomUUID(),
    username: 'onoikhac',
    address: 'onoikhac@x.vn',
  };
  const added = directory.owner('directory.accounts').insert({ ...copy, agency_id: randomUUID() });
  await expect(added).rejects.toMatchObject(refused);
  expect(await directory.owner('directory.accounts').where({ id: copy.id })).toEqual([]);
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

describe('someone who has an account by the time of the approval', () => {
  /** A request for what has an account, submitted while that account was retired. */
  async function lateRequest(line: Parameters<TestDirectory['submit']>[2][number], ...others: (typeof line)[]) {
    const [opened] = (await open('H41.32', line)).lines;
    const account = directory.owner('directory.accounts').where({ id: opened?.account?.id });
    await account.clone().update({ state: 'retired' });
    const request = await directory.submit(district, 'H41.32', [...others, line]);
    await account.clone().update({ state: 'active' });
    return request;
  }

  it('gets no second one: the line fails with its reason, and the others are opened', async () => {
    const line = personLine('Nguyễn Hữu Đôi');
    const { id } = await lateRequest(line, personLine('Nguyễn Hữu Lẻ'));
    const request = await directory.approve(admin, id);
    expect(request).toMatchObject({ state: 'approved', lineCount: 2, failedCount: 1, fulfilledCount: 0 });
    expect(request.lines).toMatchObject([
      { state: 'approved', account: { username: 'lenh' }, failure: null },
      { state: 'failed', account: null, failure: { code: 'person_has_account' } },
    ]);
    expect(await directory.owner('directory.accounts').where({ display_name: line.fullName })).toHaveLength(1);
    expect(directory.logged()).not.toContain('Nguyễn Hữu');
  });

  it('is no second mailbox of an agency either; a request of nothing else is at its end', async () => {
    const { id } = await lateRequest({ kind: 'agency', agencyCode: 'H41.32.07', certificate: 'none' });
    const request = await directory.approve(admin, id);
    expect(request).toMatchObject({ state: 'fulfilled', failedCount: 1 });
    expect(request.lines).toMatchObject([{ state: 'failed', failure: { code: 'agency_has_account' } }]);
    const [event] = await directory
      .owner('directory.audit_events')
      .where({ request_id: id, action: 'request.fulfilled' });
    expect(event.after).toEqual({ state: 'fulfilled', fulfilledCount: 0, failedCount: 1, rejectedCount: 0 });
  });

  it('and of whom the database alone knows, fails alone too', async () => {
    // As when the account came back between the look and the insert: the look finds nothing, the index refuses.
    const line = personLine('Nguyễn Hữu Song');
    const { id } = await lateRequest(line, personLine('Nguyễn Hữu Riêng'));
    await directory.owner.raw(`
      create table directory.hidden as select id, state from directory.accounts where display_name = 'Nguyễn Hữu Song';
      update directory.accounts set state = 'retired' where id in (select id from directory.hidden);
      create function directory.come_back() returns trigger language plpgsql security definer as $$ begin
        update directory.accounts c set state = h.state from directory.hidden h where c.id = h.id; return null; end $$;
      create trigger come_back after insert on directory.people for each statement execute function directory.come_back()`);
    const request = await directory.approve(admin, id);
    await directory.owner.raw('drop function directory.come_back() cascade; drop table directory.hidden');
    expect(request.lines).toMatchObject([
      { state: 'approved', account: { username: 'riengnh' } },
      { state: 'failed', account: null, failure: { code: 'account_conflict' } },
    ]);
    expect(await directory.owner('directory.accounts').where({ display_name: line.fullName })).toHaveLength(1);
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

  it('comes back under the name and with the mobile number that were approved now, and keeps a number not given', async () => {
    const line = personLine('Nguyễn Hữu Về', { mobile: '0912345678' });
    const personAfter = async (more: object) => {
      const [opened] = (await open('H41.32', { ...line, ...more })).lines;
      const account = directory.owner('directory.accounts').where({ id: opened?.account?.id });
      const { person_id: id } = await account.clone().first();
      await account.clone().update({ state: 'retired' });
      return directory.owner('directory.people').where({ id }).first();
    };
    const before = await personAfter({});
    const { id, birth_date, national_id_hash } = before;
    const name = { full_name: 'Lê Thị Quay', surname: 'Lê', middle_names: 'Thị', given_name: 'Quay' };
    const now = { ...name, mobile: '0987654321' };
    const after = await personAfter({ fullName: 'Lê Thị Quay', mobile: '0987654321' });
    expect([before.mobile, after]).toMatchObject(['0912345678', { id, birth_date, national_id_hash, ...now }]);
    expect(await personAfter({ fullName: 'Lê Thị Quay', mobile: undefined })).toMatchObject({ id, ...now });
  });
});
