/** An agency's request goes in; mailboxes, entries and certificates come out; an auditor sees it; a suspension takes effect. */
import { readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Account, Client, connectApi, type RequestDetail } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import { openLdap } from '@congvu/ldap';
import {
  canLogIn,
  makeCsr,
  readInbox,
  sendMessage,
  signMessage,
  verifyCertificate,
  verifyMessage,
  waitForMessage,
  withScratch,
} from '@congvu/local/mail-client';
import { run } from '@congvu/local/process';
import {
  activate,
  approve,
  type Holder,
  importAgencies,
  listCertificates,
  listMailboxes,
  pickUpKey,
  sendCsr,
  submit,
  threePeople,
  waitForAccounts,
  waitUntil,
  withDirectory,
} from '@congvu/local/province';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { z } from 'zod';
import { expectOneWelcome, expectWhole, type Platform, startPlatform } from './platform.ts';

let platform: Platform;
let agencyRequest: RequestDetail;
let request: RequestDetail;
let holders: [Holder, Holder, Holder];
let pickedUp: Awaited<ReturnType<typeof pickUpKey>>;
const lines = threePeople();
const nationalIds = lines.flatMap((line) => ('nationalId' in line && line.nationalId ? line.nationalId : []));
const NewClient = Client.extend({ clientSecret: z.string() });

beforeAll(async () => {
  platform = await startPlatform('journey', 25_000);
}, 120_000);
afterAll(() => platform?.stop(), 60_000);

const kindOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'done',
    (error: unknown) => (error instanceof ServiceError ? `${error.kind} ${error.code}` : String(error)),
  );

test('the province is imported', async () => {
  expect(await importAgencies(platform.clients)).toMatchObject({ added: 845, changed: 0, unchanged: 0, refused: [] });
});

test('the district asks for its own mailbox and for three people; it cannot approve its request itself', async () => {
  const { requester, administrator } = platform.clients;
  agencyRequest = await submit(requester, 'H41.32', [{ kind: 'agency', certificate: 'none' }]);
  await approve(administrator, agencyRequest.id);
  request = await submit(requester, 'H41.32', lines);
  expect(request.state).toBe('submitted');
  expect(await kindOf(approve(requester, request.id))).toBe('forbidden permission_missing');
  for (const nationalId of nationalIds) expect(JSON.stringify(request)).not.toContain(nationalId);
});

test('the IT admin approves, and within seconds entries, mailboxes and certificates are there', async () => {
  await approve(platform.clients.administrator, request.id);
  request = await waitForAccounts(platform.clients.requester, request.id, 15_000);
  expect(request.lines[0]?.account?.address).toBe('dienht@nghean.gov.vn');
  await expectWhole(platform, [request.id]);
});

test('the activation code sets a password; IMAP shows the welcome message, once', async () => {
  holders = (await Promise.all(
    request.lines.map(({ account }) => activate(platform.clients, platform.description, account?.id as string)),
  )) as [Holder, Holder, Holder];
  for (const holder of holders) await waitForMessage(platform.description, holder, /Chào mừng/);
  await expectOneWelcome(platform, holders);
});

test('the agency reads the decision in its own mailbox, once for each request', async () => {
  const agency = await activate(
    platform.clients,
    platform.description,
    (await waitForAccounts(platform.clients.requester, agencyRequest.id)).lines[0]?.account?.id as string,
  );
  const decisions = await waitUntil(
    'two decision notices',
    async () => (await readInbox(platform.description, agency)).filter(({ subject }) => /được phê duyệt/.test(subject)),
    (found) => found.length >= 2,
  );
  expect(new Set(decisions.map(({ messageId }) => messageId)).size).toBe(decisions.length);
  expect(decisions).toHaveLength(2);
});

test('a signed message goes through submission and OpenSSL verifies it with the certificate from LDAP', async () => {
  const { description } = platform;
  const [author, reader] = holders;
  const key = await pickUpKey(author);
  pickedUp = key;
  const subject = 'Báo cáo đã ký';
  await sendMessage(
    description,
    author,
    reader.address,
    await signMessage(key, { to: reader.address, subject, text: 'Nội dung báo cáo.' }),
  );
  const { source } = await waitForMessage(description, reader, /Báo cáo đã ký/);
  await withDirectory(description, async (directory) => {
    const [certificate] = (await directory.entry('dienht'))?.attributes['userCertificate;binary'] ?? [];
    const { certificate: issuingCertificate, crl } = await directory.authority();
    const { rootCertificateFile } = description;
    const signer = { signerCertificate: certificate as Buffer, rootCertificateFile };
    expect(await verifyMessage(source, signer)).toContain('Nội dung báo cáo.');
    const altered = Buffer.from(source.toString('latin1').replace(' dung ', ' dong '), 'latin1');
    expect(altered.equals(source)).toBe(false);
    await expect(verifyMessage(altered, signer)).rejects.toThrow(/failure|error/i);
    const chain = { certificate: certificate as Buffer, issuingCertificate, rootCertificateFile };
    expect(await verifyCertificate({ ...chain, crls: [crl] })).toBe('certificate: OK');
  });
});

test('nobody sends in the name of another', async () => {
  const [author, other] = holders;
  if (!platform.description.smtp) return;
  const message = `From: ${other.address}\r\nTo: ${author.address}\r\nSubject: forged\r\n\r\nforged\r\n`;
  const forged = sendMessage(platform.description, author, author.address, message, other.address);
  await expect(forged).rejects.toThrow(/not owned by user/);
});

test('a CSR of the third brings a certificate and completes the request', async () => {
  const serialNumber = await sendCsr(holders[2], (await makeCsr()).csrPem);
  await waitUntil(
    'the request to be fulfilled',
    () => waitForAccounts(platform.clients.requester, request.id),
    ({ state }) => state === 'fulfilled',
  );
  const certificates = await listCertificates(platform.clients.auditor, request.id);
  expect(certificates.map((one) => one.serialNumber)).toContain(serialNumber);
});

test('the auditor lists three mailboxes and three certificates with the request, the approver and the times', async () => {
  const { auditor } = platform.clients;
  const approver = 'Quản trị CNTT tỉnh (demo IT admin)';
  const mailboxes = await listMailboxes(auditor, request.id);
  const certificates = await listCertificates(auditor, request.id);
  expect(mailboxes.map(({ address }) => address).sort()).toEqual(holders.map(({ address }) => address).sort());
  expect(certificates.map(({ address }) => address).sort()).toEqual(holders.map(({ address }) => address).sort());
  for (const one of [...mailboxes, ...certificates]) {
    expect(one).toMatchObject({ requestId: request.id, approvedBy: approver, decisionNumber: '1247/UBND-VP' });
    expect(Date.parse(one.approvedAt ?? '')).toBeGreaterThan(Date.parse(one.submittedAt ?? ''));
  }
  expect(certificates.map(({ path }) => path).sort()).toEqual(['csr', 'server_key', 'server_key']);
});

test('a suspension: IMAP, SMTP and LDAP refuse, and the certificate is on the next CRL; resuming ends it', async () => {
  const { administrator } = platform.clients;
  const { description, engines } = platform;
  const [author, reader] = holders;
  const change = (what: 'suspend' | 'resume') =>
    administrator.call('directory', `/v1/accounts/${author.accountId}/${what}`, Account, {
      body: { reason: 'thử nghiệm' },
    });
  const bind = async () => {
    const ldap = openLdap({ url: engines.openldap.url, bindDn: '', password: '' });
    return ldap.verifyPassword(`uid=dienht,ou=people,${engines.baseDn}`, author.password);
  };
  const [serial] = (await listCertificates(platform.clients.auditor, request.id))
    .filter(({ address }) => address === author.address)
    .map((one) => one.serialNumber.toUpperCase());
  const newestCrl = async (): Promise<string> => {
    const answer = await fetch(`${description.services.certificate}/crl/${await issuingName()}.crl`);
    const der = Buffer.from(await answer.arrayBuffer());
    return withScratch(async (path) => {
      await writeFile(path('crl'), der);
      return run('openssl', ['crl', '-inform', 'DER', '-in', path('crl'), '-noout', '-text']);
    });
  };
  const issuingName = async () => (await listCertificates(platform.clients.auditor, request.id))[0]?.issuer;

  expect([await canLogIn(description, author), await bind()]).toEqual([true, true]);
  await change('suspend');
  await waitUntil(
    'IMAP to refuse',
    () => canLogIn(description, author),
    (allowed) => !allowed,
    5_000,
  );
  await waitUntil('LDAP to refuse', bind, (allowed) => !allowed, 5_000);
  if (description.smtp) {
    await expect(
      sendMessage(
        description,
        author,
        reader.address,
        `From: ${author.address}\r\nTo: ${reader.address}\r\nSubject: x\r\n\r\nx\r\n`,
      ),
    ).rejects.toThrow(/535|authenticat/i);
  }
  const held = await waitUntil('the CRL to list it', newestCrl, (text) => text.includes(serial as string), 10_000);
  expect(held).toMatch(/Certificate Hold/);
  await withDirectory(description, async (directory) => {
    await waitUntil(
      'the certificate to leave LDAP',
      () => directory.entry('dienht'),
      (entry) => (entry?.attributes['userCertificate;binary'] ?? []).length === 0,
    );
  });
  await change('resume');
  await waitUntil(
    'IMAP to admit',
    () => canLogIn(description, author),
    (allowed) => allowed,
    5_000,
  );
  await waitUntil('the CRL to forget it', newestCrl, (text) => !text.includes(serial as string), 10_000);
  expect(await bind()).toBe(true);
});

test('another agency does not see the request, and without a token, or with one made up, nobody sees anything', async () => {
  const { description, clients } = platform;
  expect(await kindOf(clients.stranger.fetch('directory', `/v1/requests/${request.id}`))).toBe(
    'unauthenticated token_missing',
  );
  const none = connectApi(description.services, { token: 'eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJ4In0.x' });
  expect(await kindOf(none.fetch('directory', `/v1/requests/${request.id}`))).toBe('unauthenticated token_invalid');
  const other = await clients.administrator.call('directory', '/v1/clients', NewClient, {
    body: {
      name: 'Thành phố Vinh',
      agencyCode: 'H41.23',
      permissions: ['requests:read', 'mailboxes:read', 'certificates:read'],
    },
  });
  const neighbour = connectApi(description.services, { clientId: other.id, clientSecret: other.clientSecret });
  expect(await kindOf(neighbour.fetch('directory', `/v1/requests/${request.id}`))).toBe('not_found request_not_found');
  expect(await listMailboxes(neighbour, request.id)).toEqual([]);
  expect(await listCertificates(neighbour, request.id)).toEqual([]);
});

test('no secret, code, password or identity number stands in any log', () => {
  const logs = platform.logs();
  const secrets = Object.values(platform.description.clients).map((client) => client.clientSecret);
  for (const secret of [
    ...nationalIds,
    ...secrets,
    ...holders.map(({ password }) => password),
    platform.description.ldap.password,
    ...holders.map(({ code }) => code),
    pickedUp.passphrase,
    'Huỳnh Thanh Điền',
  ]) {
    expect(secret.length).toBeGreaterThan(8);
    expect(logs.includes(secret)).toBe(false);
  }
  expect(logs).not.toMatch(/BEGIN (ENCRYPTED )?PRIVATE KEY|BEGIN CERTIFICATE REQUEST/);
});

test('every process listens on loopback only, and the description is for its owner alone', () => {
  const ports = new Set<number>(Object.values(platform.engines.ports));
  const listening = ['/proc/net/tcp', '/proc/net/tcp6']
    .flatMap((file) => readFileSync(file, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A')
    .map((fields) => (fields[1] as string).split(':') as [string, string])
    .map(([address, port]) => ({ address, port: Number.parseInt(port, 16) }))
    .filter(({ port }) => ports.has(port));
  expect(listening.length).toBeGreaterThanOrEqual(11);
  expect([...new Set(listening.map(({ address }) => address))]).toEqual(['0100007F']);
  expect(statSync(`${platform.engines.stateDirectory}.json`).mode & 0o777).toBe(0o600);
});
