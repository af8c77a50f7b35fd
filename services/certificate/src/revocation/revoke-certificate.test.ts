import { Certificate } from '@congvu/contracts';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { followClosedAgencies } from './converge-revocation.ts';
import { revokeScheduled } from './revoke-certificate.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

type Claims = Parameters<TestCertificates['tokens']['bearer']>[0];
const administrator: Claims = { permissions: ['certificates:revoke'] };
const agency: Claims = { agency: 'H41.12', permissions: ['certificates:enrol'] };
const holderOf = (account: TestAccount): Claims => ({ kind: 'holder', id: account.id, permissions: [] });

async function made(options?: Parameters<TestCertificates['account']>[0]) {
  const account = await service.account(options);
  await service.converge(account);
  return { account, serialNumber: (await service.certificates(account))[0]!.serial_number.toString('hex') };
}
const call = async (method: 'post' | 'delete', path: string, claims: Claims, body?: object) => {
  const request = supertest(service.app)
    [method](`/v1/certificates/${path}`)
    .set('Authorization', await service.tokens.bearer(claims));
  return body ? request.send(body) : request;
};
const revoke = (serialNumber: string, body: object, claims = administrator) =>
  call('post', `${serialNumber}/revoke`, claims, body);
const release = (serialNumber: string, claims = administrator) => call('post', `${serialNumber}/release-hold`, claims);
const cancel = (serialNumber: string, claims = administrator) =>
  call('delete', `${serialNumber}/scheduled-revocation`, claims);
const row = async (account: TestAccount) => (await service.certificates(account))[0]!;
const change = async (account: TestAccount, changes: Record<string, unknown>) => {
  await changeAccount(service.owner, account.id, changes);
  await service.converge(account);
};
const changes = async (account: TestAccount) =>
  Number(
    (
      await service
        .owner('certificate.crl_changes')
        .where({ serial_number: (await row(account)).serial_number })
        .count()
    )[0]!.count,
  );

describe('who', () => {
  test.each([
    ['the holder', (account: TestAccount) => holderOf(account), 'holder'],
    ['the agency', () => agency, 'client'],
    ['an administrator', () => administrator, 'client'],
  ] as const)('%s, at once', async (_who, claims, kind) => {
    const { account, serialNumber } = await made();
    const answer = await revoke(serialNumber, { reason: 'keyCompromise' }, claims(account));
    expect([answer.status, answer.body]).toMatchObject([200, { state: 'revoked', revocationReason: 'keyCompromise' }]);
    expect(Certificate.parse(answer.body)).toEqual(answer.body);
    const event = await service
      .owner('directory.audit_events')
      .where({ subject_id: account.id, action: 'certificate.revoked' })
      .first();
    expect(event).toMatchObject({ actor_kind: kind, after: { serialNumber, reason: 'keyCompromise' } });
    expect(await changes(account)).toBe(1);
    expect(await service.queued()).toEqual(
      expect.arrayContaining([`crl:${service.authority.id}:0`, `certificates:${account.id}`]),
    );
  });

  test('that a privilege is withdrawn is said by the authority alone', async () => {
    const { account, serialNumber } = await made();
    for (const claims of [agency, holderOf(account)])
      expect((await revoke(serialNumber, { reason: 'privilegeWithdrawn' }, claims)).body).toMatchObject({
        status: 403,
        code: 'revocation_reason',
      });
    expect((await revoke(serialNumber, { reason: 'privilegeWithdrawn' })).status).toBe(200);
  });

  test('a holder only where the profile lets them', async () => {
    const { account, serialNumber } = await made();
    await service
      .owner('certificate.certificates')
      .where({ account_id: account.id })
      .update({ profile: 'of-another-time' });
    expect((await revoke(serialNumber, { reason: 'superseded' }, holderOf(account))).body).toMatchObject({
      status: 403,
      code: 'self_revocation',
    });
    expect((await revoke(serialNumber, { reason: 'superseded' }, agency)).status).toBe(200);
  });

  test("nobody another's", async () => {
    const [one, other] = [await made(), await made()];
    for (const claims of [holderOf(other.account), { ...agency, agency: 'H41.02' }])
      expect((await revoke(one.serialNumber, { reason: 'superseded' }, claims)).status).toBe(404);
    expect(await row(one.account)).toMatchObject({ state: 'valid' });
  });
});

describe('what is said with it', () => {
  test('since when it was not to be trusted', async () => {
    const { account, serialNumber } = await made();
    const invalidityDate = '2026-11-01T02:03:04.000Z';
    const answer = await revoke(serialNumber, { reason: 'keyCompromise', invalidityDate });
    expect(answer.body).toMatchObject({ invalidityDate, revocationReason: 'keyCompromise' });
    expect(await row(account)).toMatchObject({ invalidity_date: new Date(invalidityDate) });
  });

  test.each([
    [{ reason: 'keyCompromise', invalidityDate: '2999-01-01T00:00:00Z' }, '/invalidityDate', 'time_future'],
    [{ reason: 'certificateHold', invalidityDate: '2026-01-01T00:00:00Z' }, '/invalidityDate', 'hold_dated'],
    [{ reason: 'superseded', revokeAt: '2020-01-01T00:00:00Z' }, '/revokeAt', 'time_past'],
    [{ reason: 'superseded', revokeAt: '2999-01-01T00:00:00Z' }, '/revokeAt', 'time_after_end'],
    [{ reason: 'superseded', revokeAt: 'tomorrow' }, '/revokeAt', 'invalid_format'],
    [{ reason: 'removeFromCRL' }, '/reason', 'invalid_value'],
    [{}, '/reason', 'invalid_value'],
  ])('refused: %j', async (body, pointer, code) => {
    const { account, serialNumber } = await made();
    expect((await revoke(serialNumber, body)).body).toMatchObject({ status: 422, errors: [{ pointer, code }] });
    expect(await row(account)).toMatchObject({ state: 'valid' });
  });

  test('both times wrong: both are named', async () => {
    const { serialNumber } = await made();
    const times = { invalidityDate: '2999-01-01T00:00:00Z', revokeAt: '2020-01-01T00:00:00Z' };
    expect((await revoke(serialNumber, { reason: 'superseded', ...times })).body.errors).toHaveLength(2);
  });

  test('twice: since when it is, and why', async () => {
    const { serialNumber } = await made();
    const { body } = await revoke(serialNumber, { reason: 'superseded' });
    for (const reason of ['keyCompromise', 'certificateHold'])
      expect((await revoke(serialNumber, { reason })).body).toMatchObject({
        status: 409,
        code: 'certificate_state',
        detail: `The certificate is revoked already, since ${body.revokedAt} (superseded).`,
      });
    const later = { reason: 'superseded', revokeAt: new Date(Date.now() + 60_000).toISOString() };
    expect((await revoke(serialNumber, later)).status).toBe(409);
  });

  test('what has expired is not revoked', async () => {
    const { account, serialNumber } = await made();
    await service
      .owner('certificate.certificates')
      .where({ account_id: account.id })
      .update({ not_after: new Date(Date.now() - 1_000) });
    expect((await revoke(serialNumber, { reason: 'superseded' })).body).toMatchObject({
      status: 409,
      detail: 'The certificate has expired already.',
    });
  });
});

describe('a hold', () => {
  test('that was decided stays whatever becomes of the account, and ends when that is decided', async () => {
    const { account, serialNumber } = await made();
    expect((await revoke(serialNumber, { reason: 'certificateHold' }, holderOf(account))).body).toMatchObject({
      state: 'revoked',
      revocationReason: 'certificateHold',
    });
    for (const state of ['suspended', 'active']) {
      await change(account, { state });
      expect(await row(account)).toMatchObject({ revocation_reason: 'certificateHold', hold_decided: true });
    }
    expect((await revoke(serialNumber, { reason: 'certificateHold' })).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining('on hold already'),
    });
    expect((await release(serialNumber)).body).toMatchObject({
      state: 'valid',
      revokedAt: null,
      revocationReason: null,
    });
    expect(await service.actions(account)).toEqual(
      expect.arrayContaining(['certificate.revoked', 'certificate.hold_released']),
    );
    expect((await release(serialNumber)).body).toMatchObject({
      status: 409,
      code: 'not_on_hold',
      detail: 'The certificate is not on hold.',
    });
  });

  test('of a suspended account ends with the suspension and not before', async () => {
    const { account, serialNumber } = await made();
    await change(account, { state: 'suspended' });
    const { revoked_at: since } = await row(account);
    expect((await release(serialNumber)).body).toMatchObject({
      status: 409,
      code: 'not_on_hold',
      detail: expect.stringContaining('account is suspended'),
    });
    // Decided upon as well: released from that, it is still on hold for the other.
    expect((await revoke(serialNumber, { reason: 'certificateHold' })).status).toBe(200);
    expect(await row(account)).toMatchObject({ hold_decided: true, revoked_at: since });
    expect((await release(serialNumber)).body).toMatchObject({ state: 'revoked', revocationReason: 'certificateHold' });
    await change(account, { state: 'active' });
    expect(await row(account)).toMatchObject({ state: 'valid', hold_decided: false });
  });

  test('may become final, and then never ends', async () => {
    const { account, serialNumber } = await made();
    await revoke(serialNumber, { reason: 'certificateHold' });
    expect((await revoke(serialNumber, { reason: 'keyCompromise' })).body).toMatchObject({
      revocationReason: 'keyCompromise',
    });
    expect((await release(serialNumber)).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining('revoked for good (keyCompromise)'),
    });
    expect(await row(account)).toMatchObject({ state: 'revoked', hold_decided: false });
  });

  test('is not released by who put it there, but by who may revoke', async () => {
    const { account, serialNumber } = await made();
    await revoke(serialNumber, { reason: 'certificateHold' }, holderOf(account));
    for (const claims of [holderOf(account), agency]) expect((await release(serialNumber, claims)).status).toBe(403);
    expect((await release(serialNumber, { ...administrator, agency: 'H41.02' })).status).toBe(404);
    expect(await row(account)).toMatchObject({ revocation_reason: 'certificateHold' });
  });
});

describe('scheduled', () => {
  const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString();
  const due = (account: TestAccount) =>
    service.owner.raw(
      `update certificate.scheduled_revocations set revoke_at = now() - interval '1 second' where certificate_id in
         (select id from certificate.certificates where account_id = ?)`,
      [account.id],
    );

  test('it is valid until then, and revoked then in the name of who decided', async () => {
    const { account, serialNumber } = await made();
    const revokeAt = inAnHour();
    const answer = await revoke(serialNumber, { reason: 'cessationOfOperation', revokeAt }, agency);
    expect(answer.body).toMatchObject({ state: 'valid', revocationScheduledAt: revokeAt });
    await revokeScheduled(service.database);
    expect(await row(account)).toMatchObject({ state: 'valid' });
    await due(account);
    await Promise.all([revokeScheduled(service.database), revokeScheduled(service.database)]);
    expect(await row(account)).toMatchObject({ state: 'revoked', revocation_reason: 'cessationOfOperation' });
    const events = await service.owner('directory.audit_events').where({ subject_id: account.id }).orderBy('id');
    const [scheduled, revoked, ...further] = events.slice(-2);
    expect([scheduled.action, revoked.action, further]).toEqual([
      'certificate.revocation_scheduled',
      'certificate.revoked',
      [],
    ]);
    expect([revoked.actor_kind, revoked.actor_id]).toEqual([scheduled.actor_kind, scheduled.actor_id]);
    expect(await service.queued()).toContain(`certificates:${account.id}`);
    expect(await service.owner('certificate.scheduled_revocations').count()).toMatchObject([{ count: '0' }]);
  });

  test('twice: cancel first; then it can be anew', async () => {
    const { serialNumber } = await made();
    const later = { reason: 'superseded', revokeAt: inAnHour() };
    await revoke(serialNumber, later);
    expect((await revoke(serialNumber, later)).body).toMatchObject({ status: 409, code: 'revocation_scheduled' });
    expect((await cancel(serialNumber, { ...agency, agency: 'H41.02' })).status).toBe(404);
    expect((await cancel(serialNumber, agency)).body).toMatchObject({ state: 'valid', revocationScheduledAt: null });
    expect((await cancel(serialNumber)).body).toMatchObject({ status: 404, code: 'nothing_scheduled' });
    expect((await revoke(serialNumber, later)).status).toBe(200);
  });

  test('revoked before: that counts, and nothing is left of the schedule', async () => {
    const { account, serialNumber } = await made();
    await revoke(serialNumber, { reason: 'superseded', revokeAt: inAnHour() });
    expect((await revoke(serialNumber, { reason: 'keyCompromise' })).body).toMatchObject({
      revocationReason: 'keyCompromise',
      revocationScheduledAt: null,
    });
    await revokeScheduled(service.database);
    expect(await row(account)).toMatchObject({ revocation_reason: 'keyCompromise' });
  });

  test('one that cannot be carried out holds up none', async () => {
    const [one, other] = [await made(), await made()];
    for (const { account, serialNumber } of [one, other]) {
      await revoke(serialNumber, { reason: 'superseded', revokeAt: inAnHour() });
      await due(account);
    }
    await service
      .owner('certificate.certificates')
      .where({ account_id: one.account.id })
      .update({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'keyCompromise' });
    await revokeScheduled(service.database);
    expect([await row(one.account), await row(other.account)]).toMatchObject([
      { revocation_reason: 'keyCompromise' },
      { revocation_reason: 'superseded' },
    ]);
  });
});

describe('by itself', () => {
  test('an account that goes to another agency: what the profile ties to the agency ends, and is asked for anew there', async () => {
    const [person, position] = [await made(), await made()];
    const profiles = new Map(service.authorities.profiles);
    profiles.set('person-signature', { ...profiles.get('person-signature')!, onTransfer: 'revoke' });
    const department = await service.owner('directory.agencies').where({ code: 'H41.02' }).first('id');
    for (const { account } of [person, position])
      await changeAccount(service.owner, account.id, { agency_id: department.id });
    await service.converge(person.account, { authorities: { ...service.authorities, profiles } });
    expect(await service.certificates(person.account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'affiliationChanged' },
      { state: 'valid', agency_id: department.id },
    ]);
    expect(await service.enrolments(person.account)).toMatchObject([
      { state: 'revoked' },
      { state: 'awaiting_pickup' },
    ]);

    const keeps = new Map(service.authorities.profiles);
    keeps.set('person-signature', { ...profiles.get('person-signature')!, onTransfer: 'keep' });
    await service.converge(position.account, { authorities: { ...service.authorities, profiles: keeps } });
    expect(await service.certificates(position.account)).toMatchObject([{ state: 'valid' }]);
  });

  test('an agency that closes takes its seal along, and nobody makes another; its people keep theirs', async () => {
    const seal = await service.account({ kind: 'agency', agencyCode: 'H41.12.05' });
    await changeAccount(service.owner, seal.id, { certificate_path: 'server_key' });
    await service.converge(seal);
    const person = await made({ agencyCode: 'H41.12.05' });
    await service.owner('certificate.certificates').where({ account_id: seal.id }).first();
    expect(await service.certificates(seal)).toMatchObject([{ state: 'valid', profile: 'agency-seal' }]);
    await followClosedAgencies(service.database);
    expect(await service.queued()).not.toContain(`certificates:${seal.id}`);

    await service.owner.raw(
      "update directory.agencies set valid_to = directory.today(), settled_status = 'closed' where code = 'H41.12.05'",
    );
    await followClosedAgencies(service.database);
    expect(await service.queued()).toContain(`certificates:${seal.id}`);
    expect(await service.queued()).not.toContain(`certificates:${person.account.id}`);
    for (let round = 0; round < 2; round++) await service.converge(seal);
    expect(await service.certificates(seal)).toMatchObject([
      { state: 'revoked', revocation_reason: 'cessationOfOperation' },
    ]);
    expect(await service.enrolments(seal)).toMatchObject([{ state: 'revoked', wrapped_private_key: null }]);
    await service.converge(person.account);
    expect(await service.certificates(person.account)).toMatchObject([{ state: 'valid' }]);
  });
});
