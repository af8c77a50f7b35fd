/** Lines about accounts that there are: read with every fault, carried out once approved, and settled when the services say so. */
import type { RequestDetail } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { convergeEntries } from '../accounts/converge-entry.ts';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { settleRequests } from './settle-requests.ts';

let directory: TestDirectory;
let district: TestClient;
let province: TestClient;
let admin: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  province = await directory.client('H41', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve']);
});
afterAll(() => directory.stop());

const account = async (fields: object = {}, agencyCode = 'H41.32') => {
  const { id } = await directory.submit(province, agencyCode, [personLine(`Nguyễn Văn ${randomWord()}`, fields)]);
  const opened = (await directory.approve(admin, id)).lines[0]?.account;
  if (!opened) throw new Error('no account was opened');
  return opened;
};
const row = (id: string) => directory.owner('directory.accounts').where({ id }).first();
const set = (id: string, fields: object) => directory.owner('directory.accounts').where({ id }).update(fields);
const post = (lines: object[], by = district, agencyCode = 'H41.32') =>
  supertest(directory.app).post('/v1/requests').set('Authorization', by.bearer).send({ agencyCode, lines });
const faultsOf = async (lines: object[], by = district, agencyCode = 'H41.32'): Promise<string[]> => {
  const answer = await post(lines, by, agencyCode);
  return (answer.body.errors ?? []).map((one: { pointer: string; code: string }) => `${one.pointer} ${one.code}`);
};
async function done(lines: object[], by = district, agencyCode = 'H41.32'): Promise<RequestDetail> {
  const answer = await post(lines, by, agencyCode);
  if (answer.status !== 201) throw new Error(answer.text);
  return directory.approve(admin, answer.body.id);
}
const accountEvents = async (id: string, requestId: string) =>
  directory.owner('directory.audit_events').where({ subject_id: id, request_id: requestId }).orderBy('id');

it('a request whose account is retired while it waits for its holder’s key is at its end with that', async () => {
  const lines = [personLine(`Nguyễn Văn ${randomWord()}`, { certificate: 'csr' })];
  const { id } = await directory.submit(province, 'H41.32', lines);
  const opened = (await directory.approve(admin, id)).lines[0]?.account;
  await done([{ operation: 'close', account: opened?.id, reason: 'Nghỉ hưu' }]);
  await convergeEntries(directory, [String(opened?.id)]);
  await directory.database.transaction((transaction) => settleRequests(transaction, [String(opened?.id)]));
  const request = await directory.owner('directory.requests').where({ id }).first();
  expect(request).toMatchObject({ state: 'fulfilled' });
});

describe('approved', () => {
  it('close, transfer, rename and change of position are in the record, each with its event and on this request', async () => {
    const [closed, moved, renamed, promoted] = [await account(), await account(), await account(), await account()];
    const request = await done([
      { operation: 'close', account: closed.id, reason: 'Nghỉ hưu' },
      { operation: 'transfer', account: moved.username, toAgencyCode: 'H41.32.05', title: 'Chủ tịch' },
      { operation: 'rename', account: renamed.address, fullName: 'TRẦN thị Mới' },
      { operation: 'change_position', account: promoted.address.toUpperCase(), title: 'Phó Chủ tịch' },
    ]);
    expect(request).toMatchObject({ state: 'fulfilled', fulfilledCount: 4, failedCount: 0 });
    expect(request.lines).toMatchObject([
      { operation: 'close', kind: null, target: { id: closed.id }, reason: 'Nghỉ hưu', account: null },
      { operation: 'transfer', target: { id: moved.id }, agencyCode: 'H41.32.05' },
      { operation: 'rename', target: { id: renamed.id }, fullName: 'Trần Thị Mới' },
      { operation: 'change_position', target: { id: promoted.id }, title: 'Phó Chủ tịch' },
    ]);
    expect(await row(closed.id)).toMatchObject({ state: 'retired' });
    const commune = await directory.owner('directory.agencies').where({ code: 'H41.32.05' }).first();
    expect(await row(moved.id)).toMatchObject({ agency_id: commune.id, title: 'Chủ tịch', username: moved.username });
    expect(await row(renamed.id)).toMatchObject({ display_name: 'Trần Thị Mới', username: renamed.username });
    expect(await row(promoted.id)).toMatchObject({ title: 'Phó Chủ tịch' });
    for (const { id } of [closed, moved, renamed, promoted]) {
      const [event] = await accountEvents(id, request.id);
      expect(event).toMatchObject({ actor_id: admin.id, before: expect.any(Object), after: expect.any(Object) });
    }
  });

  it('a rename with a new address gives one of the new name', async () => {
    const { id, username } = await account();
    const word = randomWord();
    const line = { operation: 'rename', account: id, fullName: `Trần Thị ${word}`, newAddress: true };
    const request = await done([line]);
    expect(request.lines).toMatchObject([{ state: 'fulfilled', newAddress: true }]);
    expect(await row(id)).toMatchObject({ username, address: `${word}tt@nghean.gov.vn` });
  });

  it('a transfer that says nothing of the office leaves it as it is by then', async () => {
    const { id } = await account({ title: 'Kế toán' });
    const { body } = await post([{ operation: 'transfer', account: id, toAgencyCode: 'H41.32.05' }]);
    await set(id, { title: 'Kế toán trưởng' });
    await directory.approve(admin, body.id);
    expect(await row(id)).toMatchObject({ title: 'Kế toán trưởng' });
  });

  it('a new certificate is asked for by the next number, and stands when the certificate service says so', async () => {
    const { id } = await account();
    await directory.owner('directory.provisioning').where({ account_id: id }).update({ state: 'done' });
    const request = await done([
      { operation: 'issue_certificate', account: id, certificate: 'csr', reason: 'Mất USB' },
    ]);
    expect(request).toMatchObject({ state: 'approved', waitsFor: 'platform' });
    expect(await row(id)).toMatchObject({ certificate_path: 'csr', certificate_number: 2 });
    const part = directory.owner('directory.provisioning').where({ account_id: id, part: 'certificate' });
    expect(await part.clone().first()).toMatchObject({ state: 'waiting' });
    const settle = () => directory.database.transaction((transaction) => settleRequests(transaction, [id]));
    const state = async () => (await directory.owner('directory.requests').where({ id: request.id }).first()).state;
    await settle();
    expect(await state()).toBe('approved');
    await part.clone().update({ state: 'done' });
    await settle();
    expect(await state()).toBe('fulfilled');
    const jobs = await directory.owner('certificate_jobs._private_jobs').pluck('key');
    expect(jobs).toContain(`certificates:${id}`);
  });

  it('a revocation says that there is to be none, and why', async () => {
    const { id } = await account();
    const request = await done([{ operation: 'revoke_certificate', account: id, reason: 'keyCompromise' }]);
    expect(request).toMatchObject({ state: 'approved' });
    expect(await row(id)).toMatchObject({
      certificate_path: 'none',
      certificate_number: 1,
      certificate_revocation_reason: 'keyCompromise',
    });
    expect(await accountEvents(id, request.id)).toMatchObject([
      { action: 'account.certificate_withdrawn', after: { certificate: 'none', reason: 'keyCompromise' } },
    ]);
    // A new one asked for before the old one is revoked does not lose the reason.
    await done([{ operation: 'issue_certificate', account: id }]);
    expect(await row(id)).toMatchObject({
      certificate_path: 'server_key',
      certificate_number: 2,
      certificate_revocation_reason: 'keyCompromise',
    });
  });

  it('a position has its office in its name and address', async () => {
    const lines = [
      { kind: 'position', title: 'Chủ tịch' },
      { operation: 'open', kind: 'position', title: 'Văn thư', agencyCode: 'H41.32.05' },
    ];
    const request = await done(lines);
    expect(request.lines.map((line) => line.account?.username)).toEqual(['chutich.quynhluu', 'vanthu.tanson.quynhluu']);
    const [first] = request.lines;
    expect(await row(first?.account?.id ?? '')).toMatchObject({
      kind: 'position',
      display_name: 'Chủ tịch UBND huyện Quỳnh Lưu',
      title: 'Chủ tịch',
      person_id: null,
    });
    expect(await faultsOf([{ kind: 'position', title: 'chủ tịch' }])).toEqual(['/lines/0/title position_has_account']);
    expect(
      await faultsOf([
        { kind: 'position', title: 'A' },
        { kind: 'position', title: 'a' },
      ]),
    ).toEqual(['/lines/1/title repeated_in_request']);
  });
});

describe('what cannot be done any more when it is carried out', () => {
  it('fails with its reason, and harms no other line', async () => {
    const [gone, suspended, away, fine] = [await account(), await account(), await account(), await account()];
    const { body } = await post([
      { operation: 'close', account: gone.id, reason: 'Nghỉ hưu' },
      { operation: 'issue_certificate', account: suspended.id },
      { operation: 'change_position', account: away.id, title: 'Trưởng phòng' },
      { operation: 'change_position', account: fine.id, title: 'Trưởng phòng' },
      { operation: 'transfer', account: fine.id, toAgencyCode: 'H41.32.33' },
      personLine('Nguyễn Văn Đóng', { agencyCode: 'H41.32.33' }),
    ]);
    await set(gone.id, { state: 'retired' });
    await set(suspended.id, { state: 'suspended' });
    const neighbour = await directory.owner('directory.agencies').where({ code: 'H41.33' }).first();
    await set(away.id, { agency_id: neighbour.id });
    const closing = directory.owner('directory.agencies').where({ code: 'H41.32.33' });
    await closing.clone().update({ valid_to: '2020-01-01' });
    // Who approves must have the account's agency in scope; the province has.
    const request = await directory.approve(admin, body.id);
    await closing.clone().update({ valid_to: null });
    expect(request.lines.map((line) => [line.state, line.failure?.code])).toEqual([
      ['failed', 'account_state'],
      ['failed', 'account_state'],
      ['failed', 'account_outside_request'],
      ['fulfilled', undefined],
      ['failed', 'agency_closed'],
      ['failed', 'agency_closed'],
    ]);
    expect(request).toMatchObject({ state: 'fulfilled', failedCount: 5, fulfilledCount: 1 });
    expect(await row(fine.id)).toMatchObject({ title: 'Trưởng phòng' });
  });

  it('such as a change to what is so already, fails alone too', async () => {
    const { id } = await account({ title: 'Kế toán' });
    const request = await done([{ operation: 'change_position', account: id, title: 'Kế toán' }]);
    expect(request.lines).toMatchObject([{ state: 'failed', failure: { code: 'nothing_changes' } }]);
  });
});

it('an agency is asked for its seal, and loses it, like a person a certificate', async () => {
  const opened = await done([{ kind: 'agency', agencyCode: 'H41.32.06' }]);
  const id = opened.lines[0]?.account?.id as string;
  await done([{ operation: 'issue_certificate', account: id, certificate: 'csr', reason: 'Con dấu số' }]);
  expect(await row(id)).toMatchObject({ certificate_path: 'csr', certificate_number: 2 });
  await done([{ operation: 'revoke_certificate', account: id, reason: 'superseded' }]);
  expect(await row(id)).toMatchObject({ certificate_path: 'none', certificate_revocation_reason: 'superseded' });
});

describe('faults', () => {
  it('of the form are precise', async () => {
    expect(
      await faultsOf([
        { operation: 'destroy', account: 'x' },
        { operation: 'close', account: 'x' },
        { operation: 'close', account: 'x', reason: 'y', title: 'z' },
        { operation: 'revoke_certificate', account: 'x', reason: 'certificateHold' },
        { operation: 'issue_certificate', account: 'x', certificate: 'none' },
        { operation: 'transfer', account: 'x' },
        { kind: 'position' },
        { operation: 'open', kind: 'robot' },
        { operation: 'open' },
      ]),
    ).toEqual([
      '/lines/0/operation invalid_union',
      '/lines/1/reason invalid_type',
      '/lines/2/title unknown_field',
      '/lines/3/reason invalid_value',
      '/lines/4/certificate invalid_value',
      '/lines/5/toAgencyCode invalid_type',
      '/lines/6/title invalid_type',
      '/lines/7/kind invalid_union',
      '/lines/8/kind invalid_union',
    ]);
  });

  it('are all found at once: unknown, foreign, retired, of another kind, without a certificate, twice', async () => {
    const [retired, bare, own] = [await account(), await account({ certificate: 'none' }), await account()];
    const foreign = await account({}, 'H41.33');
    await set(retired.id, { state: 'retired' });
    const mailbox = (await done([{ kind: 'agency', agencyCode: 'H41.32.07' }])).lines[0]?.account?.address;
    const commune = await account({}, 'H41.32.05');
    expect(
      await faultsOf([
        { operation: 'close', account: 'nobody@nghean.gov.vn', reason: 'x' },
        { operation: 'close', account: foreign.id, reason: 'x' }, // not ours, and so not there
        { operation: 'rename', account: retired.id, fullName: 'Trần Thị Mới' },
        { operation: 'rename', account: own.id, fullName: 'Trần' },
        { operation: 'rename', account: mailbox, fullName: 'Trần Thị Mới' },
        { operation: 'revoke_certificate', account: bare.id, reason: 'unspecified' },
        { operation: 'transfer', account: own.id, toAgencyCode: 'H41.33' },
        { operation: 'change_position', account: own.id, title: 'x' },
        { operation: 'change_position', account: own.username, title: 'y' },
      ]),
    ).toEqual([
      '/lines/0/account account_not_found',
      '/lines/1/account account_not_found',
      '/lines/3/fullName name_single_word',
      '/lines/6/toAgencyCode agency_not_found',
      '/lines/8/account repeated_in_request',
      '/lines/2/account account_state',
      '/lines/4/account account_kind',
      '/lines/5/account account_without_certificate',
    ]);
    // The account lies below the client's agency, but not below the one for which the request is made.
    expect(await faultsOf([{ operation: 'close', account: own.id, reason: 'x' }], district, 'H41.32.05')).toEqual([
      '/lines/0/account account_outside_request',
    ]);
    expect(
      await faultsOf(
        [{ operation: 'transfer', account: commune.id, toAgencyCode: 'H41.32.05' }],
        district,
        'H41.32.05',
      ),
    ).toEqual(['/lines/0/account account_there_already']);
  });

  it('include another request for the same that waits, until it is decided', async () => {
    const { id } = await account();
    const line = { operation: 'close', account: id, reason: 'x' };
    const first = await post([line]);
    expect(await faultsOf([line])).toEqual(['/lines/0/account account_has_request']);
    await post([{ operation: 'change_position', account: id, title: 'y' }]).expect(201); // another operation
    await supertest(directory.app)
      .post(`/v1/requests/${first.body.id}/reject`)
      .set('Authorization', admin.bearer)
      .send({ remark: 'Không' })
      .expect(200);
    expect(await faultsOf([line])).toEqual([]);
  });
});

it('a transfer goes out of the request’s agency within the requester’s scope; whoever approves is above both', async () => {
  const { id } = await account();
  const answer = await post([{ operation: 'transfer', account: id, toAgencyCode: 'H41.33' }], province);
  expect(answer.status).toBe(201);
  const approver = await directory.client('H41.32', ['requests:approve']);
  const refused = await supertest(directory.app)
    .post(`/v1/requests/${answer.body.id}/approve`)
    .set('Authorization', approver.bearer)
    .send({});
  expect([refused.status, refused.body.code]).toEqual([403, 'line_outside_scope']);
  expect(await directory.approve(admin, answer.body.id)).toMatchObject({ state: 'fulfilled', fulfilledCount: 1 });
});
