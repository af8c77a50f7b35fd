import { randomUUID } from 'node:crypto';
import { Notice, NoticePreview, NoticeSigningKey, type Permission } from '@congvu/contracts';
import { changeAccount, insertRequest, type TestAccount } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from '../app.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { openTemplates } from './templates.ts';

let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
/** Of the district and of the department beside it. */
let [inDistrict, inDepartment]: TestAccount[] = [];
beforeAll(async () => {
  mailbox = await startTestMailbox();
  authority = await createTestAuthority();
  app = createMailboxApp({
    ...mailbox,
    authenticate: authority.authenticate,
    issuerUrl: 'https://directory.test',
    log: pino({ level: 'silent' }),
  });
  inDistrict = await mailbox.account({ agencyCode: 'H41.12', displayName: 'Trần <Thị> Ơn' });
  inDepartment = await mailbox.account({ agencyCode: 'H41.02' });
  for (const account of [inDistrict, inDepartment]) {
    await mailbox
      .database('mailbox.mailboxes')
      .insert({ account_id: account.id, address: account.address, state: 'active', quota_bytes: 5 });
    for (const [day, kind, state] of [
      ['01', 'welcome', 'sent'],
      ['05', 'suspension', 'failed'],
      ['09', 'resumption', 'waiting'],
    ] as const) {
      await mailbox.database('mailbox.notices').insert({
        kind,
        subject_id: account.id,
        agency_id: account.agencyId,
        recipient: account.address,
        message_id: `<${randomUUID()}@x>`,
        state,
        created_at: `2026-03-${day}T00:00:00Z`,
        ...(state === 'failed' && { last_error: '550 no', attempts: 1, last_attempt_at: '2026-03-05T00:00:01Z' }),
      });
    }
  }
  // Of before the log knew agencies.
  await mailbox.database('mailbox.notices').insert({
    kind: 'decision',
    subject_id: randomUUID(),
    recipient: 'vanthu@elsewhere.test',
    message_id: '<old@x>',
    state: 'sent',
    created_at: '2025-01-01T00:00:00Z',
  });
});
afterAll(() => mailbox.stop());

const call = async (
  method: 'get' | 'post' | 'put',
  path: string,
  options: { agency?: string; permission?: Permission; accept?: string; body?: object } = {},
) =>
  supertest(app)
    [method](path)
    .set(
      'Authorization',
      await authority.bearer({
        agency: options.agency ?? 'H41',
        permissions: [options.permission ?? 'mailboxes:read'],
      }),
    )
    .set('Accept', options.accept ?? 'application/json')
    .send(options.body);
const get = (path: string, agency?: string) => call('get', path, agency === undefined ? {} : { agency });
const kinds = (answer: supertest.Response) => answer.body.items.map(({ kind }: Notice) => kind);

describe('the log', () => {
  test('an agency sees the notices about its own, the province all', async () => {
    const own = await get('/v1/notices', 'H41.12');
    expect(own.body.items.map((one: unknown) => Notice.parse(one))).toEqual(own.body.items);
    expect(kinds(own)).toEqual(['resumption', 'suspension', 'welcome']);
    expect(new Set(own.body.items.map((one: Notice) => one.subjectId))).toEqual(new Set([inDistrict!.id]));
    expect((await get('/v1/notices', 'H41')).body.items).toHaveLength(7);
    expect((await get('/v1/notices', 'H41.12.05')).body.items).toEqual([]);
  });

  test.each([
    ['kind=welcome', ['welcome']],
    ['state=failed', ['suspension']],
    ['from=2026-03-05T00:00:00Z', ['resumption', 'suspension']],
    ['from=2026-03-05T07:00:00%2B07:00', ['resumption', 'suspension']],
    ['before=2026-03-05T00:00:00Z', ['welcome']],
    ['from=2026-03-02T00:00:00Z&before=2026-03-06T00:00:00Z', ['suspension']],
    ['kind=welcome&state=failed', []],
  ])('filter %s', async (filter, expected) => {
    expect(kinds(await get(`/v1/notices?${filter}`, 'H41.12'))).toEqual(expected);
    const answer = await get(`/v1/notices?${filter}&recipient=${inDepartment!.address}`);
    expect(kinds(answer)).toEqual(expected);
    expect(kinds(await get(`/v1/notices?${filter}&subjectId=${inDistrict!.id}`))).toEqual(expected);
    expect(kinds(await get(`/v1/notices?${filter}&subjectId=${inDistrict!.id}`, 'H41.02'))).toEqual([]);
  });

  test('says what was tried and what came of it', async () => {
    const [failed] = (await get('/v1/notices?state=failed', 'H41.12')).body.items;
    expect(failed).toMatchObject({
      attempts: 1,
      lastError: '550 no',
      lastAttemptAt: '2026-03-05T00:00:01.000Z',
      sentAt: null,
    });
  });

  test('every fault of a filter at once', async () => {
    const answer = await get('/v1/notices?kind=letter&state=lost&from=yesterday&subjectId=x&word=y');
    expect(answer.status).toBe(422);
    expect(answer.body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual(
      ['kind', 'state', 'from', 'subjectId', 'word'].map((name) => `query/${name}`).sort(),
    );
  });

  test('as CSV', async () => {
    const { text } = await call('get', '/v1/notices', { agency: 'H41.12', accept: 'text/csv' });
    expect(text.split('\r\n')).toHaveLength(5);
    expect(text).toContain(`,${inDistrict!.address},`);
  });
});

test('a retry is for a notice that failed, of one’s own agencies, and only once', async () => {
  const [{ id }] = (await get('/v1/notices?state=failed', 'H41.12')).body.items;
  const retry = (one: string, agency = 'H41.12') =>
    call('post', `/v1/notices/${one}/retry`, { agency, permission: 'mailboxes:write' });
  expect((await retry(id, 'H41.02')).body).toMatchObject({ status: 404, code: 'notice_not_found' });
  expect((await retry(randomUUID())).status).toBe(404);
  expect((await retry('x')).status).toBe(422);
  expect((await retry(id)).body).toMatchObject({ id, state: 'waiting', lastError: '550 no' });
  expect((await retry(id)).body).toMatchObject({ status: 409, code: 'notice_not_failed' });
});

describe('the templates', () => {
  test('are listed with their source', async () => {
    const { body } = await get('/v1/notice-templates', 'H41.12');
    expect(body.unknownFiles).toEqual([]);
    expect(
      body.items.find((one: { kind: string; language: string }) => one.kind === 'digest' && one.language === 'en'),
    ).toEqual({
      kind: 'digest',
      language: 'en',
      parts: ['subject', 'text', 'html'].map((part) => ({
        part,
        file: `en/digest.${part}.liquid`,
        source: 'built_in',
        fault: null,
      })),
    });
  });

  test('a preview of samples, in the language asked for or the configured one', async () => {
    const { body } = await get('/v1/notice-templates/welcome/preview?language=en', 'H41.12');
    expect(NoticePreview.parse(body)).toEqual(body);
    expect(body).toMatchObject({ subject: 'Welcome to the official mail system', faults: [] });
    expect((await get('/v1/notice-templates/welcome/preview')).body.language).toBe('vi');
    expect((await get('/v1/notice-templates/letter/preview?language=fr')).body.errors).toHaveLength(2);
  });

  test('a preview about somebody, as HTML that runs nothing', async () => {
    const path = `/v1/notice-templates/welcome/preview?subjectId=${inDistrict!.id}`;
    const answer = await call('get', path, { agency: 'H41.12', accept: 'text/html' });
    expect(answer.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(answer.headers['content-security-policy']).toBe("sandbox; default-src 'none'; style-src 'unsafe-inline'");
    expect(answer.text).toContain('Trần &lt;Thị&gt; Ơn');
    expect((await get(path, 'H41.02')).body).toMatchObject({ status: 404, code: 'notice_subject_not_found' });
    expect(
      await mailbox.database('mailbox.notices').where({ subject_id: inDistrict!.id, kind: 'welcome' }),
    ).toHaveLength(1);
  });

  test('a preview of each kind tells of its own subject', async () => {
    const requestId = await insertRequest(mailbox.owner, { agencyCode: 'H41.12', remark: 'Ý kiến riêng' });
    const { decided_by } = await mailbox.owner('directory.requests').where({ id: requestId }).first();
    const [{ id: returnId }] = await mailbox
      .owner('directory.request_returns')
      .insert({ request_id: requestId, returned_by: decided_by, remark: 'Thiếu chữ ký', lines: '[]' })
      .returning('id');
    const retired = await mailbox.account({ agencyCode: 'H41.12' });
    await changeAccount(mailbox.owner, retired.id, { state: 'retired', retained_until: '2026-05-20' });
    const held = await mailbox.account({ agencyCode: 'H41.12' });
    await changeAccount(mailbox.owner, held.id, {
      state: 'suspended',
      suspension_reason: 'Xác minh',
      suspended_until: '2026-05-20T01:00:00Z',
    });
    const preview = async (kind: string, subjectId: string) =>
      (await get(`/v1/notice-templates/${kind}/preview?subjectId=${subjectId}`, 'H41.12')).body.text;
    expect(await preview('decision', requestId)).toContain('Ý kiến riêng');
    expect(await preview('return', returnId)).toContain('Thiếu chữ ký');
    expect(await preview('suspension', held.id)).toContain('Lý do: Xác minh');
    expect(await preview('expiry', held.id)).toContain('sẽ hết lúc 08:00 ngày 20/05/2026');
    expect(await preview('expiry', retired.id)).toContain('lưu giữ đến 00:00 ngày 21/05/2026');
    expect(await preview('resumption', held.id)).toContain(held.address);
    expect(await preview('digest', inDistrict!.agencyId)).toContain('Tình hình của Ủy ban nhân dân huyện Quỳnh Lưu');
  });

  test('what is wrong with an administrator’s file is told, and the preview shows what would be sent', async () => {
    const faulty = openTemplates('/proc/self/environ'); // no folder at all
    const other = createMailboxApp({
      ...mailbox,
      templates: faulty,
      authenticate: authority.authenticate,
      issuerUrl: 'https://directory.test',
    });
    const bearer = await authority.bearer({ agency: 'H41', permissions: ['mailboxes:read'] });
    const { body } = await supertest(other).get('/v1/notice-templates/welcome/preview').set('Authorization', bearer);
    expect(body.faults[0]).toBe('vi/welcome.subject.liquid: it cannot be read (ENOTDIR)');
    expect(body.subject).toBe('Chào mừng đến với hệ thống thư công vụ');
    const list = await supertest(other).get('/v1/notice-templates').set('Authorization', bearer);
    expect(list.body.items[0].parts[0].fault).toBe('vi/welcome.subject.liquid: it cannot be read (ENOTDIR)');
  });
});

test('the record to publish for the signing key is public, and the zone line is that value', async () => {
  const { body } = await get('/v1/notices/dkim', 'H41.12');
  expect(NoticeSigningKey.parse(body)).toEqual(body);
  expect(body).toMatchObject({ domain: 'nghean.gov.vn', selector: 'congvu', name: 'congvu._domainkey.nghean.gov.vn' });
  const strings = [...body.zoneLine.matchAll(/"([^"]*)"/g)].map(([, string]) => string as string);
  expect(strings.join('')).toBe(body.value);
  expect(Math.max(...strings.map(({ length }) => length))).toBeLessThanOrEqual(255);
  expect(JSON.stringify(body)).not.toContain('PRIVATE');
});

test('the language of a mailbox is chosen by its agency’s administrators, and audited', async () => {
  const path = `/v1/mailboxes/${inDistrict!.id}/language`;
  const put = (language: unknown, agency = 'H41.12') =>
    call('put', path, { agency, permission: 'mailboxes:write', body: { language } });
  expect((await get(path)).body).toEqual({ language: null, noticeLanguage: 'vi' });
  expect((await put('en', 'H41.02')).status).toBe(404);
  expect((await put('fr')).status).toBe(422);
  expect((await put('en')).body).toEqual({ language: 'en', noticeLanguage: 'en' });
  expect((await put('en')).status).toBe(200);
  expect((await get(path)).body).toEqual({ language: 'en', noticeLanguage: 'en' });
  expect((await put(null)).body).toEqual({ language: null, noticeLanguage: 'vi' });
  const events = await mailbox
    .owner('directory.audit_events')
    .where({ subject_id: inDistrict!.id })
    .orderBy('id')
    .select('*');
  expect(events.map(({ action, before, after }) => [action, before.language, after.language])).toEqual([
    ['mailbox.language_changed', null, 'en'],
    ['mailbox.language_changed', 'en', null],
  ]);
});
