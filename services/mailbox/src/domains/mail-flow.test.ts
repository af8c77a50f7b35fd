/**
 * Domains, further addresses and forwarding, from the API to where mail ends up: each rule by SMTP, submission, IMAP and `postmap -q`
 * against the running Postfix, Dovecot and OpenLDAP.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Forwarding, MailAlias, MailDomain } from '@congvu/contracts';
import { changeAccount, holdShared, type TestAccount, testStack } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { createTransport } from 'nodemailer';
import { pino } from 'pino';
import supertest from 'supertest';
import { countAliasUse } from '../aliases/alias-store.ts';
import { endAliases } from '../aliases/change-aliases.ts';
import { createMailboxApp } from '../app.ts';
import { closeGroup } from '../groups/change-group.ts';
import { createGroup } from '../groups/create-group.ts';
import { applySettings } from '../mailboxes/apply-settings.ts';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { convergeDomains } from './converge-domains.ts';

const postfix = (
  testStack() as unknown as { postfix: { smtpPort: number; submissionPort: number; configDirectory: string } }
).postfix;
const tlsCa = readFileSync(String(testStack().certificateFile), 'utf8');
const run = promisify(execFile);
const province = 'nghean.gov.vn';
/** Another run, beside this one or before it, has others. */
const tag = randomBytes(4).toString('hex');
const oldDomain = `cu-${tag}.gov.vn`;
const ownDomain = `soyte-${tag}.${province}`;

/** Every file that looks after domains has a record of its own, and would remove from the one ou=domains what others put there. */
let domains: Awaited<ReturnType<typeof holdShared>>;
let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
beforeAll(async () => {
  domains = await holdShared('ou=domains');
  mailbox = await startTestMailbox();
  authority = await createTestAuthority();
  const log = pino({ level: 'silent' });
  app = createMailboxApp({
    ...mailbox,
    authenticate: authority.authenticate,
    issuerUrl: 'https://directory.test',
    log,
  });
  await convergeDomains(mailbox);
});
afterAll(async () => {
  await mailbox.owner('mailbox.domains').whereNot({ kind: 'province' }).update({ until: '2020-01-01' });
  await mailbox.owner('directory.agencies').update({ mail_domain: province });
  await convergeDomains(mailbox);
  await domains.release();
  await mailbox.stop();
});

const permissions = ['mailboxes:read', 'mailboxes:write', 'domains:write'];
async function call(
  method: 'get' | 'post' | 'put' | 'patch' | 'delete',
  path: string,
  body?: object,
  headers = {},
  agency = 'H41',
) {
  const bearer = await authority.bearer({ agency, permissions });
  return supertest(app)[method](path).set('Authorization', bearer).set(headers).send(body);
}
const codes = (answer: supertest.Response) =>
  (answer.body.errors ?? []).map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`);

async function opened(options?: Parameters<TestMailbox['account']>[0]): Promise<TestAccount> {
  const account = await mailbox.account(options);
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
  return account;
}
/** What the jobs do that the API queued. */
async function follow(...accounts: readonly TestAccount[]): Promise<void> {
  await convergeDomains(mailbox);
  await convergeMailboxes(
    mailbox,
    accounts.map(({ id }) => id),
  );
}
async function changeAddress(account: TestAccount, address: string, more: Record<string, unknown> = {}) {
  await changeAccount(mailbox.owner, account.id, { address, ...more });
  const changed = { ...account, address };
  await mailbox.convergeEntry(changed);
  await convergeMailboxes(mailbox, [account.id]);
  return changed;
}

/** From outside, without a password. Throws with Postfix's answer. */
async function send(to: string, subject: string, from = 'ai@example.org'): Promise<void> {
  const transport = createTransport({ host: '127.0.0.1', port: postfix.smtpPort, ignoreTLS: true });
  try {
    await transport.sendMail({ envelope: { from, to }, from, to, subject, text: 'Chào' });
  } finally {
    transport.close();
  }
}
async function submit(user: string, pass: string, from: string, to: string, subject: string): Promise<void> {
  const transport = createTransport({
    host: '127.0.0.1',
    port: postfix.submissionPort,
    requireTLS: true,
    auth: { user, pass },
    tls: { ca: tlsCa },
  });
  try {
    await transport.sendMail({ envelope: { from, to }, from, to, subject, text: 'Chào' });
  } finally {
    transport.close();
  }
}
const refusal = (sending: Promise<unknown>): Promise<number> =>
  sending.then(
    () => 250,
    (error: { responseCode: number }) => error.responseCode,
  );
const subjects = async (account: TestAccount) => (await mailbox.messages(account)).map(({ subject }) => subject);
async function arrives(account: TestAccount, subject: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if ((await subjects(account)).includes(subject)) return;
    await sleep(100);
  }
  throw new Error(`"${subject}" did not come to ${account.address}`);
}
/** What a lookup table of Postfix answers; undefined: nothing. An error of the table throws. */
async function postmap(map: string, key: string): Promise<string | undefined> {
  const dictionary = `ldap:${postfix.configDirectory}/${map}`;
  const asked = run('/usr/sbin/postmap', ['-c', postfix.configDirectory, '-q', key, dictionary]);
  return asked.then(
    ({ stdout }) => stdout.trim(),
    (error: { code: number; stderr: string }) => {
      if (error.code === 1 && error.stderr === '') return undefined;
      throw error;
    },
  );
}
async function attributes(account: TestAccount): Promise<Record<string, unknown>> {
  const found = await mailbox.ldap.find(mailbox.dn(account), ['mail', 'congvuMailAlias', 'congvuMailForward']);
  return Object.fromEntries(Object.entries(found?.attributes ?? {}).filter(([, values]) => values.length > 0));
}

describe('a domain that stands for another', () => {
  test('has the addresses that its target has, and no other', async () => {
    const account = await opened();
    const local = account.username;
    // Another's address, because smtpd keeps for a while what it learned of one.
    expect(await refusal(send(`ai.do@${oldDomain}`, 'too early'))).toBe(554); // relaying is refused
    const answer = await call('post', '/v1/domains', {
      kind: 'alias',
      name: oldDomain.toUpperCase(),
      target: province,
    });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({ name: oldDomain, kind: 'alias', target: province, state: 'open' });
    await follow();

    await send(`${local}@${oldDomain}`, 'by the old domain');
    await arrives(account, 'by the old domain');
    expect(await refusal(send(`khong.ai@${oldDomain}`, 'nobody'))).toBe(550);
    expect(await refusal(send(`khong.ai@${province}`, 'nobody'))).toBe(550);
    await send(`postmaster@${oldDomain}`, 'RFC 2142');

    expect(await postmap('alias-domains.cf', oldDomain)).toBe(province);
    expect(await postmap('domains.cf', oldDomain)).toBeUndefined();
    expect(await postmap('domain-aliases.cf', `${local}@${oldDomain}`)).toBe(`${local}@${province}`);
    expect(await postmap('domain-aliases.cf', `@${oldDomain}`)).toBeUndefined();
    expect(await postmap('addresses.cf', `${local}@${province}`)).toBe(account.address);
    for (const key of [`@${province}`, local, `khong.ai@${province}`]) {
      for (const map of ['addresses.cf', 'aliases.cf', 'forwards.cf', 'mailboxes.cf', 'senders.cf'])
        expect([map, key, await postmap(map, key)]).toEqual([map, key, undefined]);
    }
  });

  test('is no sender from outside, and one for who holds the address', async () => {
    const [account, other] = [await opened(), await opened()];
    const password = await mailbox.password(account);
    expect(await refusal(send(account.address, 'forged', `${account.username}@${oldDomain}`))).toBe(553);
    expect(await refusal(send(account.address, 'forged', `bat.ky@${oldDomain}`))).toBe(553);
    expect(await refusal(send(account.address, 'forged', account.address))).toBe(553);
    await submit(account.address, password, `${account.username}@${oldDomain}`, other.address, 'as before');
    await arrives(other, 'as before');
    const others = `${other.username}@${oldDomain}`;
    expect(await refusal(submit(account.address, password, others, other.address, 'not mine'))).toBe(553);
  });

  test('is the whole province’s to change, as quota classes are: one answer to every other client', async () => {
    const answers = [
      await call('post', '/v1/domains', { kind: 'alias', name: `h-${tag}.gov.vn`, target: province }, {}, 'H41.12'),
      await call('delete', `/v1/domains/${province}`, undefined, {}, 'H41.12'),
      await call('post', '/v1/quota-classes', { code: 'be', name: 'Bé', quotaBytes: 1_048_576 }, {}, 'H41.12'),
    ];
    for (const { body } of answers) expect(body).toMatchObject({ status: 403, code: 'province_only' });
  });

  test('cannot be a circle, stand for what is not ours, or be opened twice', async () => {
    const post = async (body: object) => {
      const answer = await call('post', '/v1/domains', body);
      return [answer.status, answer.body.code, ...codes(answer)];
    };
    const name = `khac-${tag}.gov.vn`;
    expect(await post({ kind: 'alias', name, target: name })).toEqual([422, 'domain_invalid', '/target domain_loop']);
    expect(await post({ kind: 'alias', name, target: 'gmail.com' })).toEqual([
      422,
      'domain_invalid',
      '/target domain_not_ours',
    ]);
    expect(await post({ kind: 'alias', name, target: oldDomain })).toEqual([
      422,
      'domain_invalid',
      '/target domain_of_alias',
    ]);
    expect(await post({ kind: 'agency', name })).toEqual([422, 'domain_invalid', '/name domain_not_ours']);
    expect(await post({ kind: 'alias', name: oldDomain, target: province })).toEqual([409, 'domain_exists']);
    expect(await post({ kind: 'alias', name: province, target: oldDomain })).toEqual([409, 'domain_exists']);
    expect(await post({ kind: 'alias', name: 'không có', target: province, until: '2026-13-01' })).toMatchObject([
      422,
      'request_invalid',
      '/name invalid_format',
      '/until invalid_format',
    ]);
    expect(await post({ kind: 'alias', name, target: province, until: '2020-01-01' })).toEqual([
      422,
      'domain_invalid',
      '/until past',
    ]);
  });

  test('the same Idempotency-Key opens one; a domain in use is not closed; one that is closed refuses mail', async () => {
    const account = await opened();
    const name = `tam-${tag}.gov.vn`;
    const key = { 'Idempotency-Key': `k-${tag}` };
    const body = { kind: 'alias', name, target: province };
    const first = await call('post', '/v1/domains', body, key);
    const second = await call('post', '/v1/domains', body, key);
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.body).toEqual(first.body);
    expect((await call('post', '/v1/domains', { ...body, name: `x${name}` }, key)).body.code).toBe(
      'idempotency_key_reused',
    );
    await follow();
    await send(`${account.username}@${name}`, 'while it is open');
    await arrives(account, 'while it is open');

    expect((await call('delete', `/v1/domains/${province}`)).body.code).toBe('domain_of_province');
    expect((await call('delete', `/v1/domains/${name}`, undefined, { 'If-Match': '"7"' })).status).toBe(412);
    expect((await call('delete', `/v1/domains/${name}`)).status).toBe(204);
    await follow();
    expect([550, 554]).toContain(await refusal(send(`${account.username}@${name}`, 'closed')));
    const { body: closed }: { body: MailDomain } = await call('get', `/v1/domains/${name}`);
    expect(closed).toMatchObject({ state: 'closed', version: 2 });
    const events = await mailbox
      .owner('directory.audit_events')
      .where({ subject_id: name })
      .orderBy('id')
      .pluck('action');
    expect(events).toEqual(['domain.opened', 'domain.closed']);
    expect((await call('get', '/v1/domains?state=closed&kind=alias')).body.items).toMatchObject([{ name }]);
  });
});

describe('an agency’s own domain', () => {
  test('comes with its first address, receives there alone, and is no sender from outside', async () => {
    await mailbox.owner('directory.agencies').where({ code: 'H41.02' }).update({ mail_domain: ownDomain });
    const account = await mailbox.account({ agencyCode: 'H41.02' });
    const moved = { ...account, address: `${account.username}@${ownDomain}` };
    await changeAccount(mailbox.owner, account.id, { address: moved.address });
    await mailbox.convergeEntry(moved);
    await convergeMailboxes(mailbox, [account.id]);
    expect(await mailbox.queued()).toContain('domains');
    await follow();

    await send(moved.address, 'to the agency’s domain');
    await arrives(moved, 'to the agency’s domain');
    expect(await refusal(send(account.address, 'another domain'))).toBe(550);
    expect(await refusal(send(`khong.ai@${ownDomain}`, 'nobody'))).toBe(550);
    expect(await refusal(send(moved.address, 'forged', moved.address))).toBe(553);
    await send(`abuse@${ownDomain}`, 'RFC 2142');
    await submit(moved.address, await mailbox.password(moved), moved.address, moved.address, 'own sender');
    await arrives(moved, 'own sender');
    expect(await postmap('domains.cf', ownDomain)).toBe(ownDomain);
    expect(await postmap('own-domains.cf', ownDomain)).toMatch(/^553 5\.7\.1 /);

    const { body }: { body: MailDomain } = await call('get', `/v1/domains/${ownDomain}`);
    expect(body).toMatchObject({ kind: 'agency', mailboxCount: 1, state: 'open' });
    expect((await call('delete', `/v1/domains/${ownDomain}`)).body).toMatchObject({
      status: 409,
      code: 'domain_in_use',
      detail: expect.stringContaining('1 agencies, 1 mailboxes'),
    });
  });

  test('with a list and nothing else in it is neither closed, nor given an end, nor made to stand for another', async () => {
    const name = `danhsach-${tag}.${province}`;
    const agency = mailbox.owner('directory.agencies').where({ code: 'H41.12.05' });
    const owner = await opened();
    await agency.clone().update({ mail_domain: name });
    const actor = { kind: 'client' as const, id: crypto.randomUUID(), ip: null, agencyCode: 'H41' };
    const input = { localPart: `nhom-${tag}`, name: 'Nhóm', posting: 'members' as const, ownerIds: [owner.id] };
    const { id } = await createGroup(mailbox, { ...input, agencyCode: 'H41.12.05' }, actor, undefined);
    await agency.clone().update({ mail_domain: province });
    const inUse = { status: 409, code: 'domain_in_use', detail: `${name} is still used by: 1 lists.` };
    expect((await call('delete', `/v1/domains/${name}`)).body).toMatchObject(inUse);
    expect((await call('patch', `/v1/domains/${name}`, { until: '2099-01-01' })).body).toMatchObject(inUse);
    // As by an older release, which let it be closed.
    await mailbox.owner('mailbox.domains').where({ name }).update({ until: '2020-01-01' });
    const alias = await call('post', '/v1/domains', { kind: 'alias', name, target: province });
    expect(alias.body).toMatchObject(inUse);
    await closeGroup(mailbox.database, { id }, actor);
    expect((await call('post', '/v1/domains', { kind: 'alias', name, target: province })).status).toBe(201);
    await follow();
  });

  test('what somebody wrote there by hand goes, what is missing comes back', async () => {
    const base = `ou=domains,${mailbox.baseDn}`;
    const dn = (name: string) => `associatedDomain=${name},${base}`;
    await mailbox.ldap.add(dn('gmail.com'), {
      objectClass: ['congvuMailDomain'],
      associatedDomain: ['gmail.com'],
      congvuDomainKind: ['agency'],
    });
    await mailbox.ldap.remove(dn(province));
    await follow();
    const found = await mailbox.ldap.search(base, { scope: 'one', attributes: ['associatedDomain'] });
    const names = found.map(({ attributes }) => String(attributes.associatedDomain?.[0]));
    expect(names).toContain(province);
    expect(names).not.toContain('gmail.com');
  });
});

describe('a changed address', () => {
  test('leads to the mailbox still, is its holder’s as a sender, and opens it', async () => {
    const account = await opened();
    const former = account.address;
    const password = await mailbox.password(account);
    await send(former, 'before');
    await arrives(account, 'before');
    const renamed = await changeAddress(account, `moi.${account.username}@${province}`);
    expect(await attributes(renamed)).toEqual({ mail: [renamed.address], congvuMailAlias: [former] });

    await send(former, 'to the former name');
    await send(renamed.address, 'to the new name');
    await arrives(renamed, 'to the former name');
    await arrives(renamed, 'to the new name');
    expect(await subjects(renamed)).toContain('before');
    const session = await mailbox.imap({ ...account, address: former }, password); // logs in by the former name
    await session.logout();
    await submit(former, password, former, renamed.address, 'by the former name');
    await arrives(renamed, 'by the former name');

    const { body }: { body: MailAlias } = await call('get', `/v1/aliases/${former}`);
    expect(body).toMatchObject({ mailboxId: account.id, reason: 'former_name', endedAt: null, uses: 0 });
    const days = (Date.parse(String(body.validUntil)) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(363);
    expect(days).toBeLessThan(366);

    // Back again: the address is the mailbox's own, and the other the former one.
    await changeAddress(renamed, former);
    expect(await attributes(account)).toEqual({ mail: [former], congvuMailAlias: [renamed.address] });
    expect((await call('get', `/v1/aliases/${former}`)).body.endedAt).not.toBeNull();
  });

  test('may be written beside the new one in one change; another’s may not, by anybody', async () => {
    const [account, other] = [await opened(), await opened()];
    const write = (attribute: string, value: string) =>
      mailbox.ldap.modify(mailbox.dn(other), [{ attribute, operation: 'replace', values: [value] }]);
    const former = account.address;
    await changeAddress(account, `moi.${account.username}@${province}`);
    for (const held of [former, `moi.${account.username}@${province}`]) {
      for (const attribute of ['mail', 'congvuMailAlias'])
        await expect(write(attribute, held)).rejects.toThrow(/InsufficientAccess|Constraint|Code: 0x(32|13)/i);
    }
    expect(await attributes(other)).toEqual({ mail: [other.address] });
  });

  test('another agency’s domain: both receive', async () => {
    const account = await opened();
    const moved = await changeAddress(account, `${account.username}@${ownDomain}`);
    await follow();
    await send(account.address, 'before the transfer');
    await arrives(moved, 'before the transfer');
    await send(moved.address, 'after the transfer');
    await arrives(moved, 'after the transfer');
    expect((await call('get', `/v1/aliases/${account.address}`)).body.reason).toBe('former_agency');
  });

  test('ends on its day: refused, out of LDAP, and the name stays taken', async () => {
    const account = await opened();
    const former = account.address;
    const renamed = await changeAddress(account, `moi.${account.username}@${province}`);
    expect((await call('patch', `/v1/aliases/${former}`, { validUntil: '2020-01-01' })).body.code).toBe(
      'alias_invalid',
    );
    expect((await call('patch', `/v1/aliases/${former}`, { validUntil: '2036-01-01' })).body.validUntil).toBe(
      '2036-01-01',
    );
    await mailbox.owner('mailbox.aliases').where({ address: former }).update({ valid_until: '2026-01-01' });
    await endAliases(mailbox.database);
    expect(await mailbox.queued()).toContain(`mailbox:${account.id}`);
    await follow(renamed);
    expect(await attributes(renamed)).toEqual({ mail: [renamed.address] });
    expect(await refusal(send(former, 'too late'))).toBe(550);
    const other = await opened();
    expect((await call('post', `/v1/mailboxes/${other.id}/aliases`, { address: former })).body.code).toBe(
      'address_taken',
    );
    expect((await call('patch', `/v1/aliases/${former}`, { validUntil: null })).body.code).toBe('alias_ended');
  });

  test('of a retained mailbox is refused like the mailbox', async () => {
    const account = await opened();
    const former = account.address;
    const renamed = await changeAddress(account, `moi.${account.username}@${province}`);
    await changeAddress(renamed, renamed.address, { state: 'retired' });
    for (const to of [former, renamed.address, `${account.username}@${oldDomain}`])
      expect([to, await refusal(send(to, 'retained'))]).toEqual([to, 550]);
  });
});

describe('a further address by hand', () => {
  test('is given once in the province, counted, listed, and ended', async () => {
    const [account, other] = [await opened(), await opened()];
    const address = `hai.${account.username}@${province}`;
    const key = { 'Idempotency-Key': `a-${tag}` };
    const first = await call('post', `/v1/mailboxes/${account.id}/aliases`, { address }, key);
    expect(first.status).toBe(201);
    expect((await call('post', `/v1/mailboxes/${account.id}/aliases`, { address }, key)).body).toEqual(first.body);
    expect((await call('post', `/v1/mailboxes/${other.id}/aliases`, { address }, key)).body.code).toBe(
      'idempotency_key_reused',
    );
    await follow(account);
    await send(address, 'to the second');
    await arrives(account, 'to the second');
    for (const taken of [address, account.address, address.replace(province, ownDomain)]) {
      const answer = await call('post', `/v1/mailboxes/${other.id}/aliases`, { address: taken });
      expect([taken, answer.status, answer.body.code]).toEqual([taken, 409, 'address_taken']);
    }

    const lastUsedAt = new Date();
    await mailbox.database.transaction((transaction) =>
      countAliasUse(transaction, [
        { address: address.toUpperCase(), uses: 2, lastUsedAt: new Date(0) },
        { address, uses: 1, lastUsedAt },
        { address: `x@${oldDomain}`, uses: 4, lastUsedAt },
        { address: 'la@example.org', uses: 1, lastUsedAt },
      ]),
    );
    expect((await call('get', `/v1/aliases/${address}`)).body).toMatchObject({
      uses: 3,
      lastUsedAt: lastUsedAt.toISOString(),
    });
    expect((await call('get', `/v1/domains/${oldDomain}`)).body.uses).toBe(4);
    const addresses = async (query: string): Promise<string[]> =>
      (await call('get', `/v1/aliases?limit=500&${query}`)).body.items.map((one: MailAlias) => one.address);
    expect(await addresses('reason=by_hand')).toContain(address);
    expect(await addresses('unusedSince=2026-01-01')).not.toContain(address);
    expect(await addresses('agency=H41.02')).not.toContain(address);
    const csv = await call('get', '/v1/aliases', undefined, { Accept: 'text/csv' });
    expect(csv.text).toContain(`${address},${account.id},${account.address}`);

    expect((await call('delete', `/v1/aliases/${address}`)).status).toBe(204);
    await follow(account);
    expect(await refusal(send(address, 'ended'))).toBe(550);
    expect(await addresses('state=ended')).toContain(address);
    // Its holder may have it again.
    expect((await call('post', `/v1/mailboxes/${account.id}/aliases`, { address })).body).toMatchObject({ uses: 3 });
  });

  test.each([
    [`a..b@${province}`, '/address invalid_format'],
    [`"a b"@${province}`, '/address invalid_format'],
    [`${'a'.repeat(65)}@${province}`, '/address invalid'],
    [`đ@${province}`, '/address invalid_format'],
    ['ten@gmail.com', '/address domain_not_ours'],
    [`ten@${oldDomain}`, '/address domain_of_alias'],
    [`postmaster@${province}`, '/address address_reserved'],
    [`a_b@${province}`, '/address address_form'],
  ])('%s is refused: %s', async (address, fault) => {
    const account = await opened();
    const answer = await call('post', `/v1/mailboxes/${account.id}/aliases`, { address });
    expect(answer.status).toBe(422);
    expect(codes(answer)[0]).toBe(fault);
  });
});

describe('forwarding', () => {
  const forward = (account: TestAccount, addresses: string[], keepCopy = true, headers = {}) =>
    call('put', `/v1/mailboxes/${account.id}/forwarding`, { addresses, keepCopy }, headers);

  test('with a copy and without, to a mailbox that is followed when its address changes', async () => {
    const [from, to] = [await opened(), await opened()];
    expect((await forward(from, [to.address])).body).toMatchObject({
      addresses: [to.address],
      keepCopy: true,
      version: 1,
    });
    await follow(from);
    expect((await attributes(from)).congvuMailForward).toEqual(expect.arrayContaining([from.address, to.address]));
    await send(from.address, 'with a copy');
    await arrives(from, 'with a copy');
    await arrives(to, 'with a copy');

    expect((await forward(from, [to.address], false, { 'If-Match': '"0"' })).status).toBe(412);
    expect((await forward(from, [to.address], false, { 'If-Match': '"1"' })).status).toBe(200);
    await follow(from);
    expect(await postmap('forwards.cf', from.address)).toBe(to.address);
    const moved = await changeAddress(to, `moi.${to.username}@${province}`);
    expect(await mailbox.queued()).toContain(`mailbox:${from.id}`);
    await follow(from);
    expect(await postmap('forwards.cf', from.address)).toBe(moved.address);
    await send(from.address, 'without a copy');
    await arrives(moved, 'without a copy');
    expect(await subjects(from)).not.toContain('without a copy');

    await forward(from, []);
    await follow(from);
    expect((await attributes(from)).congvuMailForward).toBeUndefined();
    await send(from.address, 'no more');
    await arrives(from, 'no more');
  });

  test('to a mailbox that refuses mail rests, and mail stays where it came', async () => {
    const [from, closing, other] = [await opened(), await opened(), await opened()];
    await forward(from, [closing.address, other.address], false);
    await follow(from);
    const forwards = async () => (await attributes(from)).congvuMailForward;
    expect(await forwards()).toHaveLength(2);

    await changeAddress(closing, closing.address, { state: 'retired' });
    expect(await mailbox.queued()).toContain(`mailbox:${from.id}`);
    await follow(from);
    expect(await forwards()).toEqual([other.address]);
    await call('patch', `/v1/mailboxes/${other.id}`, { suspendedMail: 'refuse' });
    await changeAddress(other, other.address, { state: 'suspended' });
    await follow(from);
    expect(await forwards()).toBeUndefined();
    await send(from.address, 'nobody else is there');
    await arrives(from, 'nobody else is there');

    await changeAddress(closing, closing.address, { state: 'active', retained_until: null });
    await follow(from);
    expect(await forwards()).toEqual([closing.address]);
    expect((await call('get', `/v1/mailboxes/${from.id}/forwarding`)).body.addresses).toHaveLength(2);
  });

  test('that of a suspended mailbox stays in it', async () => {
    const [from, to] = [await opened(), await opened()];
    await forward(from, [to.address], false);
    await changeAddress(from, from.address, { state: 'suspended' });
    expect(await postmap('forwards.cf', from.address)).toBeUndefined();
    expect(await refusal(send(from.address, 'kept'))).toBe(250);
  });

  test('never in a circle, not even when two close it at one moment', async () => {
    const [one, two, three] = [await opened(), await opened(), await opened()];
    expect(codes(await forward(one, [one.address]))).toEqual(['/addresses/0 forward_loop']);
    expect((await forward(one, [two.address])).status).toBe(200);
    expect((await forward(two, [three.address])).status).toBe(200);
    const byAlias = `${one.username}@${oldDomain}`;
    expect(codes(await forward(three, [byAlias]))).toEqual(['/addresses/0 forward_loop']);
    const [four, five] = [await opened(), await opened()];
    const both = await Promise.all([forward(four, [five.address]), forward(five, [four.address])]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 422]);
  });

  test('to allowed domains alone; every fault at once', async () => {
    const account = await opened();
    const allowed = await forward(account, ['ban.be@moet.gov.vn']);
    expect(allowed.body).toMatchObject({ addresses: ['ban.be@moet.gov.vn'] } satisfies Partial<Forwarding>);
    const other = await opened();
    const wrong = [`khong.ai@${province}`, 'toi@gmail.com', other.address, `${other.username}@${oldDomain}`];
    expect(codes(await forward(account, wrong))).toEqual([
      '/addresses/0 forward_unknown',
      '/addresses/1 forward_outside',
      '/addresses/3 forward_twice',
    ]);
    expect((await forward(account, Array(6).fill(other.address))).status).toBe(422);
    expect((await call('get', `/v1/mailboxes/${account.id}/forwarding`)).body.addresses).toEqual([
      'ban.be@moet.gov.vn',
    ]);
  });

  test('outside ends at the next start once its domain is not allowed, or is ours', async () => {
    const name = 'moet.gov.vn';
    const [account, other] = [await opened(), await opened()];
    expect((await forward(account, [`ban.be@${name}`, other.address], false)).status).toBe(200);
    await follow(account);
    const refused = await call('post', '/v1/domains', { kind: 'alias', name, target: province });
    expect(refused.body).toMatchObject({ status: 409, code: 'domain_forwarded_to' });
    expect(refused.body.detail).toContain(account.address);

    const addresses = async () => (await call('get', `/v1/mailboxes/${account.id}/forwarding`)).body.addresses;
    await applySettings(mailbox);
    expect(await addresses()).toHaveLength(2);
    await applySettings({ ...mailbox, forwardDomains: ['khac.gov.vn'] });
    expect(await addresses()).toEqual([other.address]);
    expect(await mailbox.queued()).toContain(`mailbox:${account.id}`);
    await follow(account);
    expect((await attributes(account)).congvuMailForward).toEqual([other.address]);
    expect((await call('get', `/v1/mailboxes/${account.id}/forwarding`)).body.version).toBe(2);

    await forward(account, [`ban.be@${name}`], false);
    await mailbox.owner('mailbox.domains').insert({ name, kind: 'alias', target: province, created_by: 'thu' });
    await applySettings(mailbox);
    expect(await addresses()).toEqual([]);
    const event = mailbox.owner('directory.audit_events').where({ subject_id: account.id, actor_kind: 'system' });
    expect(await event.orderBy('id', 'desc').first()).toMatchObject({
      action: 'mailbox.forwarding_changed',
      before: { addresses: [`ban.be@${name}`] },
    });
  });
});
