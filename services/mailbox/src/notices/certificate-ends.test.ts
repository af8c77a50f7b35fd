/** Notices of certificates that run out: at 60, 30 and 7 days, to holder and agency, with the serial, each once. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { previewNotice } from './preview-notice.ts';
import { queueCertificateEnds } from './queue-certificate-ends.ts';
import { sendNotice } from './send-notice.ts';

let mailbox: TestMailbox;
let agency: TestAccount;
let authorityId: string;
beforeAll(async () => {
  mailbox = await startTestMailbox();
  agency = await mailbox.account({ kind: 'agency', displayName: 'Ủy ban nhân dân huyện Quỳnh Lưu' });
  const [row] = await mailbox
    .owner('certificate.authorities')
    .insert({ name: 'probe', kind: 'issuing', subject_key_identifier: randomBytes(20), certificate: randomBytes(8) })
    .returning('id');
  authorityId = row.id;
});
afterAll(() => mailbox.stop());

const inDays = (days: number): Date => new Date(Date.now() + days * 86_400_000);

/** On record as the certificate service leaves it; its serial number. */
async function certificateOf(
  account: TestAccount,
  endsInDays: number,
  { profile = 'person-signature', livesDays = 730, state = 'valid' } = {},
): Promise<string> {
  const enrolmentId = randomUUID();
  await mailbox
    .owner('certificate.enrolments')
    .insert({ id: enrolmentId, account_id: account.id, profile, path: 'csr', state: 'expired' });
  const serial = randomBytes(10);
  const issuedAt = inDays(endsInDays - livesDays);
  await mailbox.owner('certificate.certificates').insert({
    authority_id: authorityId,
    serial_number: serial,
    enrolment_id: enrolmentId,
    account_id: account.id,
    agency_id: account.agencyId,
    address: account.address,
    profile,
    key_kind: 'ec-p256',
    state,
    certificate: randomBytes(8),
    fingerprint_sha256: randomBytes(32),
    not_before: issuedAt,
    not_after: inDays(endsInDays),
    issued_at: issuedAt,
    ...(state === 'revoked' && { revoked_at: new Date(), revocation_reason: 'superseded' }),
  });
  return serial.toString('hex');
}
const move = (serial: string, endsInDays: number): Promise<unknown> =>
  mailbox
    .owner('certificate.certificates')
    .where({ serial_number: Buffer.from(serial, 'hex') })
    .update({ not_after: inDays(endsInDays) });
const told = async (account: TestAccount): Promise<string[]> =>
  (
    await mailbox
      .database('mailbox.notices')
      .where({ subject_id: account.id, kind: 'certificate_expiry' })
      .orderBy('occasion')
      .orderBy('addressee')
  ).map(({ occasion, addressee }) => `${occasion} ${addressee}`);
const both = (serial: string, days: number): string[] => [`${serial}:${days} agency`, `${serial}:${days} holder`];

test('each threshold is told once to holder and agency, whoever asks how often and at the same time', async () => {
  const account = await mailbox.account();
  const serial = await certificateOf(account, 61);
  await queueCertificateEnds(mailbox.database);
  expect(await told(account)).toEqual([]);
  const expected: string[] = [];
  for (const [left, threshold] of [
    [59.9, 60],
    [31, 60],
    [29.5, 30],
    [8, 30],
    [6.9, 7],
    [0.1, 7],
  ] as const) {
    await move(serial, left);
    await Promise.all([1, 2, 3].map(() => queueCertificateEnds(mailbox.database)));
    if (!expected.includes(`${serial}:${threshold} holder`)) expected.push(...both(serial, threshold));
    expect(await told(account)).toEqual([...expected].sort());
  }
  const rows = await mailbox.database('mailbox.notices').where({ subject_id: account.id }).orderBy('created_at');
  expect(rows[0]).toMatchObject({
    agency_id: account.agencyId,
    facts: { serialNumber: serial, use: 'signature', issuedBy: 'province', displayName: account.displayName },
  });
  expect(new Set(rows.map(({ recipient }) => recipient))).toEqual(new Set([account.address, agency.address]));
  const keys = (await mailbox.queued()).filter((key) => key.includes(serial));
  expect(keys).toHaveLength(6);
});

test('what was missed is told at the nearest threshold alone', async () => {
  const account = await mailbox.account();
  const serial = await certificateOf(account, 25);
  await queueCertificateEnds(mailbox.database);
  expect(await told(account)).toEqual(both(serial, 30));
});

test('one with a successor, a revoked one, one that is over and one that lives no longer are not told of', async () => {
  const account = await mailbox.account();
  await certificateOf(account, 20);
  const successor = await certificateOf(account, 50);
  await certificateOf(account, 20, { profile: 'person-encryption', state: 'revoked' });
  await certificateOf(account, -1, { profile: 'authority-signature' });
  await certificateOf(account, 45, { profile: 'ocsp', livesDays: 46 });
  await queueCertificateEnds(mailbox.database);
  expect(await told(account)).toEqual(both(successor, 60));
});

test('of devices each is told; the agency’s own are told it once; those of the Government’s CA as well', async () => {
  const office = await mailbox.account({ kind: 'agency', agencyCode: 'H41.02', displayName: 'Sở TT&TT' });
  const one = await certificateOf(office, 20, { profile: 'tls-server' });
  const other = await certificateOf(office, 40, { profile: 'tls-server' });
  const serial = randomBytes(8);
  await mailbox.owner('certificate.external_credentials').insert({
    id: randomUUID(),
    kind: 'organisation',
    state: 'issued',
    account_id: office.id,
    agency_id: office.agencyId,
    form: {},
    certificate: randomBytes(8),
    fingerprint_sha256: randomBytes(32),
    key_sha256: randomBytes(32),
    serial_number: serial,
    issuer: 'CN=probe',
    subject: 'CN=probe',
    key_kind: 'rsa-2048',
    not_before: inDays(-700),
    not_after: inDays(5),
    registered_at: inDays(-700),
    created_by: randomUUID(),
  });
  await queueCertificateEnds(mailbox.database);
  const external = serial.toString('hex');
  expect(await told(office)).toEqual([`${one}:30 holder`, `${other}:60 holder`, `${external}:7 holder`].sort());
  const notice = await mailbox
    .database('mailbox.notices')
    .where({ occasion: `${external}:7` })
    .first();
  expect(notice.facts).toMatchObject({ use: 'seal', issuedBy: 'government' });
});

test('more than one batch is told whole, and a retired account of nothing', async () => {
  const account = await mailbox.account();
  const retired = await mailbox.account({ state: 'retired' });
  for (let count = 0; count < 300; count += 1) await certificateOf(account, 10, { profile: 'tls-client' });
  await certificateOf(retired, 10);
  await queueCertificateEnds(mailbox.database);
  expect(await told(account)).toHaveLength(600);
  expect(await told(retired)).toEqual([]);
});

test('arrives in the holder’s inbox with the serial; the preview shows the account’s next end', async () => {
  const account = await mailbox.account();
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
  const serial = await certificateOf(account, 6);
  await queueCertificateEnds(mailbox.database);
  const notice = {
    kind: 'certificate_expiry',
    subjectId: account.id,
    occasion: `${serial}:7`,
    addressee: 'holder',
  } as const;
  await sendNotice(mailbox, notice);
  await sendNotice(mailbox, notice);
  expect(
    await mailbox.database('mailbox.notices').where({ occasion: notice.occasion, addressee: 'holder' }).first(),
  ).toMatchObject({ state: 'sent' });
  let arrived: { subject: string; source: string }[] = [];
  for (let tries = 0; tries < 50 && arrived.length === 0; tries += 1) {
    arrived = (await mailbox.messages(account)).filter(({ subject }) => subject.includes('hết hạn'));
    if (arrived.length === 0) await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect(arrived).toHaveLength(1);
  expect(arrived[0]?.source).toContain(serial);
  const preview = await previewNotice(
    mailbox,
    { kind: 'certificate_expiry', language: 'en', subjectId: account.id },
    'H41',
  );
  expect(preview.text).toContain(serial);
});
