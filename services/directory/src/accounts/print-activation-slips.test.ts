/** Activation slips: the PDF says in right Vietnamese what it must, its codes work, and who got none is named. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { extractText, getDocumentProxy } from 'unpdf';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { convergeEntries } from './converge-entry.ts';

let directory: TestDirectory;
let submitter: TestClient;
let admin: TestClient;
let district: TestClient;
/** The accounts of the running test's request, in its order. */
let request: string;
let accounts: { id: string; username: string; address: string; fullName: string }[];

const people = ['Nguyễn Thị Ưởng', 'Đặng Quỹ Ngẫu', 'Huỳnh Thế Đỗ Kiệt', 'Lê Hữu Ẩn'];

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  submitter = await directory.client('H41', ['requests:submit']);
  admin = await directory.client('H41', ['requests:approve', 'accounts:write', 'passwords:reset']);
  district = await directory.client('H41.32', ['activation-codes:issue']);
});
afterAll(() => directory.stop());
beforeEach(async () => {
  const word = randomWord();
  const names = people.map((name) => `${name} ${word[0]?.toUpperCase()}${word.slice(1)}`);
  const lines = names.map((name, index) => personLine(name, index === 0 ? { title: 'Phó Chánh Văn phòng' } : {}));
  ({ id: request } = await directory.submit(submitter, 'H41.32', lines));
  const approved = await directory.approve(admin, request);
  accounts = approved.lines.map(({ account, fullName }) => {
    if (!account || !fullName) throw new Error('an approved line has no account');
    return { ...account, fullName };
  });
  await directory.owner('directory.rate_limits').delete();
});

async function print(path: string, body: object | undefined, by = district) {
  const answer = await supertest(directory.app)
    .post(path)
    .set('Authorization', by.bearer)
    .send(body)
    .buffer(true)
    .parse((response, done) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => done(null, Buffer.concat(parts)));
    });
  return answer;
}
async function pagesOf(answer: supertest.Response): Promise<string[]> {
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/pdf']);
  const { text } = await extractText(await getDocumentProxy(new Uint8Array(answer.body)));
  return text.map((page) => page.replace(/\s+/g, ' '));
}
const ofRequest = (by = district) => print(`/v1/requests/${request}/activation-slips`, undefined, by);
const ofAccounts = (accountIds: readonly string[], by = district) => print('/v1/activation-slips', { accountIds }, by);
const codesIn = (pages: readonly string[]) => pages.join(' ').match(/([A-Z2-9]{4}-){3}[A-Z2-9]{4}/g) ?? [];
const activate = (username: string, code: string | undefined) =>
  supertest(directory.app).post('/v1/activations').send({ account: username, code, password: 'mat-khau-dai-2026' });
const converge = () =>
  convergeEntries(
    { database: directory.database, ldap: directory.ldap, baseDn: directory.baseDn },
    accounts.map(({ id }) => id),
  );

it('has a slip for each, in order, three to a page, with everything on it, and codes that work', async () => {
  await converge();
  const answer = await ofRequest();
  expect(answer.headers['cache-control']).toBe('no-store');
  const pages = await pagesOf(answer);
  expect(pages).toHaveLength(2);
  const [slip = ''] = (pages[0] as string).split(/(?<=sau khi dùng\.)/);
  for (const words of [
    'PHIẾU KÍCH HOẠT TÀI KHOẢN',
    'Cơ quan: UBND huyện Quỳnh Lưu',
    `Họ và tên: ${accounts[0]?.fullName}`,
    'Chức vụ: Phó Chánh Văn phòng',
    `Địa chỉ thư: ${accounts[0]?.address}`,
    '1. Mở https://directory.test',
    'Tự đặt mật khẩu từ 10 ký tự trở lên',
    'GIỮ KÍN: ai có phiếu này đều có thể chiếm tài khoản.',
  ])
    expect(slip).toContain(words);
  expect(slip).toMatch(/Có hiệu lực đến \d\d:\d\d ngày \d\d\/\d\d\/20\d\d, dùng được một lần\./);
  for (const { fullName } of accounts) expect(pages.join(' ').split(fullName)).toHaveLength(2);

  const codes = codesIn(pages);
  expect(codes).toHaveLength(accounts.length);
  for (const [index, { username }] of accounts.entries()) await activate(username, codes[index]).expect(200);
  expect(directory.logged()).not.toContain(codes[0]);
  expect(
    await directory.owner('directory.audit_events').where({ action: 'activation_code.issued', request_id: request }),
  ).toMatchObject(accounts.map(() => ({ actor_id: district.id })));
});

it('voids the code before', async () => {
  await converge();
  const [old] = codesIn(await pagesOf(await ofAccounts([accounts[0]!.id])));
  const [code] = codesIn(await pagesOf(await ofAccounts([accounts[0]!.id])));
  await activate(accounts[0]!.username, old).expect(403);
  await activate(accounts[0]!.username, code).expect(200);
});

it('leaves out who is activated or suspended, and says so at the end', async () => {
  await converge();
  const codes = codesIn(await pagesOf(await ofRequest()));
  await activate(accounts[1]!.username, codes[1]).expect(200);
  await supertest(directory.app)
    .post(`/v1/accounts/${accounts[2]!.id}/suspend`)
    .set('Authorization', admin.bearer)
    .send({ reason: 'x' })
    .expect(200);
  const pages = await pagesOf(await ofRequest());
  expect(codesIn(pages)).toHaveLength(2);
  expect(pages.at(-1)).toContain('KHÔNG IN PHIẾU: 2 tài khoản');
  expect(pages.at(-1)).toContain(`${accounts[1]!.fullName} <${accounts[1]!.address}>: đã kích hoạt`);
  expect(pages.at(-1)).toContain(`${accounts[2]!.fullName} <${accounts[2]!.address}>: tài khoản không hoạt động`);
  // Who may reset makes a slip for the activated one too: a reset, and on record as one.
  const reset = await pagesOf(await ofAccounts([accounts[1]!.id], admin));
  await activate(accounts[1]!.username, codesIn(reset)[0]).expect(422); // the same password again
  expect(
    await directory.owner('directory.audit_events').where({ action: 'activation_code.issued_for_reset' }),
  ).toMatchObject([{ subject_id: accounts[1]!.id }]);
});

it('is in the order of the ids, each once', async () => {
  const wanted = [accounts[3]!, accounts[0]!];
  const [page = ''] = await pagesOf(await ofAccounts([wanted[0]!.id, wanted[1]!.id, wanted[0]!.id]));
  expect(page.indexOf(wanted[0]!.fullName)).toBeLessThan(page.indexOf(wanted[1]!.fullName));
  expect(codesIn([page])).toHaveLength(2);
});

it('of a name that is too long stays one slip', async () => {
  const long = `${'Nguyễn '.repeat(30)}Ẩn`;
  await directory.owner('directory.accounts').where({ id: accounts[0]!.id }).update({ display_name: long });
  const pages = await pagesOf(await ofAccounts(accounts.map(({ id }) => id)));
  expect([pages.length, codesIn(pages).length]).toEqual([2, 4]);
});

it('of many stays in order and complete', async () => {
  const lines = Array.from({ length: 150 }, () => personLine(`Trần Văn ${randomWord()}`));
  const { id } = await directory.submit(submitter, 'H41.32', lines);
  await directory.approve(admin, id);
  const pages = await pagesOf(await print(`/v1/requests/${id}/activation-slips`, undefined));
  expect([pages.length, new Set(codesIn(pages)).size]).toEqual([50, 150]);
});

describe('refused', () => {
  const codes = () =>
    directory.owner('directory.activation_codes').whereIn(
      'account_id',
      accounts.map(({ id }) => id),
    );
  const problem = ({ status, body }: supertest.Response) => ({ status, ...JSON.parse(body.toString()) });

  it('accounts and requests of others, all faults at once, and no code is made', async () => {
    const neighbour = await directory.client('H41.33', ['activation-codes:issue']);
    const ids = [accounts[0]!.id, randomUUID()];
    expect(problem(await ofAccounts(ids, neighbour))).toMatchObject({
      status: 422,
      errors: [{ pointer: '/accountIds/0', code: 'account_not_found' }, { pointer: '/accountIds/1' }],
    });
    expect(problem(await ofAccounts(ids))).toMatchObject({ status: 422, errors: [{ pointer: '/accountIds/1' }] });
    expect(problem(await ofRequest(neighbour))).toMatchObject({ status: 404, code: 'request_not_found' });
    expect(await codes()).toEqual([]);
  });

  it('none and too many', async () => {
    for (const ids of [[], Array.from({ length: 501 }, () => randomUUID())])
      expect(problem(await ofAccounts(ids))).toMatchObject({ status: 422, errors: [{ pointer: '/accountIds' }] });
  });

  it('nothing of a document when the database is away', async () => {
    const { database } = directory;
    const broken = Object.assign(((...args: [string]) => database(...args)) as typeof database, database, {
      transaction: () => Promise.reject(new Error('gone')),
    });
    const answer = await supertest(directory.appWith({ database: broken }))
      .post('/v1/activation-slips')
      .set('Authorization', district.bearer)
      .send({ accountIds: [accounts[0]!.id] });
    expect([answer.status, answer.type]).toEqual([500, 'application/problem+json']);
  });
});
