import type { TestAccount } from '@congvu/database/testing';
import { changeAccount } from '@congvu/database/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { toPem } from '../authority/certificate.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import type { RevocationReason } from '../certificates/certificate-store.ts';
import { revokeCertificate } from '../certificates/revoke-certificate.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { lockAuthority } from './crl-store.ts';
import { publishCrl } from './publish-crl.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
beforeEach(async () => {
  await service.owner('certificate.crls').delete();
});
afterAll(() => service.stop());

const crls = () => service.owner('certificate.crls').orderBy('crl_number').select('*');
const newest = async () => (await crls()).at(-1);
const authorityDn = () => distinguishedName({ cn: service.authority.name }, `ou=authorities,${service.baseDn}`);
const inLdap = async () =>
  (await service.ldap.find(authorityDn(), ['certificateRevocationList;binary', 'cACertificate;binary']))?.attributes;
/** What OpenSSL reads in the newest CRL, its signature verified. */
async function said(): Promise<string> {
  service.judge.write('newest.crl', toPem('X509 CRL', (await newest()).crl));
  service.judge.run('crl', '-in', 'newest.crl', '-CAfile', 'authorities/issuing.crt.pem', '-noout');
  return service.judge.run('crl', '-in', 'newest.crl', '-noout', '-text');
}
async function issued(): Promise<{ account: TestAccount; serialNumber: Buffer }> {
  const account = await service.account();
  await service.converge(account);
  return { account, serialNumber: (await service.certificates(account))[0]!.serial_number };
}
const revoke = (serialNumber: Buffer, reason: RevocationReason = 'unspecified') =>
  revokeCertificate(service.database, serialNumber, reason, { agencyCode: 'H41' }, certificateSystem);
const spoken = (serialNumber: Buffer) => `Serial Number: ${serialNumber.toString('hex').toUpperCase()}`;
const age = (hours: number) =>
  service.owner('certificate.crls').update({
    this_update: service.owner.raw("this_update - ? * interval '1 hour'", [hours]),
    next_update: service.owner.raw("next_update - ? * interval '1 hour'", [hours]),
  });

describe('a list', () => {
  test('the first one: number 1, empty, signed, in LDAP beside the certificate', async () => {
    await publishCrl(service, service.authority.id, false);
    const text = await said();
    for (const part of [
      'X509v3 CRL Number: \n                1',
      'No Revoked Certificates',
      'X509v3 Authority Key Identifier',
    ])
      expect(text).toContain(part);
    const crl = await newest();
    expect(crl.next_update.getTime() - crl.this_update.getTime()).toBe(48 * 3_600_000);
    expect(crl.next_update.getTime()).toBeGreaterThan(Date.now() + 47 * 3_600_000);
    expect(await inLdap()).toEqual({
      'certificateRevocationList;binary': [crl.crl],
      'cACertificate;binary': [service.authority.issuer.certificate.der],
    });
    const root = await service.ldap.find(`cn=root,ou=authorities,${service.baseDn}`, ['cACertificate;binary']);
    expect(root?.attributes['cACertificate;binary']).toHaveLength(1);
  });

  test('every certificate that is revoked, with its reason; OpenSSL refuses it then', async () => {
    const reasons = {
      unspecified: undefined,
      keyCompromise: 'Key Compromise',
      affiliationChanged: 'Affiliation Changed',
      superseded: 'Superseded',
      cessationOfOperation: 'Cessation Of Operation',
      privilegeWithdrawn: 'Privilege Withdrawn',
    } as const;
    const good = await issued();
    const revoked = new Map<string, Buffer>();
    for (const reason of Object.keys(reasons) as (keyof typeof reasons)[]) {
      const { serialNumber } = await issued();
      await revoke(serialNumber, reason);
      revoked.set(reason, serialNumber);
    }
    await publishCrl(service, service.authority.id, true);
    const text = await said();
    expect((await newest()).entry_count).toBe(6);
    for (const [reason, serialNumber] of revoked) {
      const entry = text.slice(text.indexOf(spoken(serialNumber))).split('Serial Number')[1] ?? '';
      const name = reasons[reason as keyof typeof reasons];
      if (name) expect(entry).toContain(name);
      else expect(entry).not.toContain('Reason Code');
    }
    const options = ['-crl_check', '-CRLfile', 'newest.crl'];
    const [fine] = await service.certificates(good.account);
    expect(service.verify(fine!.certificate!, ...options)).toContain('OK');
    const gone = await service
      .owner('certificate.certificates')
      .where({ serial_number: revoked.get('superseded') })
      .first();
    expect(() => service.verify(gone.certificate, ...options)).toThrow(/certificate revoked/);
  });

  test('a hold is on it, and gone from the next after its release', async () => {
    const { account, serialNumber } = await issued();
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    await service.converge(account);
    await publishCrl(service, service.authority.id, true);
    const held = await said();
    expect(held.slice(held.indexOf(spoken(serialNumber))).split('Serial Number')[1]).toContain('Certificate Hold');
    await changeAccount(service.owner, account.id, { state: 'active' });
    await service.converge(account);
    await publishCrl(service, service.authority.id, true);
    expect(await said()).not.toContain(spoken(serialNumber));
  });

  test('one that has expired is on one list more, and then no longer (RFC 5280 section 3.3)', async () => {
    const { serialNumber } = await issued();
    await revoke(serialNumber);
    await publishCrl(service, service.authority.id, true);
    await age(2);
    const expired = { not_after: new Date(Date.now() - 3_600_000) };
    await service.owner('certificate.certificates').where({ serial_number: serialNumber }).update(expired);
    await publishCrl(service, service.authority.id, true);
    expect(await said()).toContain(spoken(serialNumber));
    await publishCrl(service, service.authority.id, true);
    expect(await said()).not.toContain(spoken(serialNumber));
  });
});

describe('when', () => {
  test('numbers only grow, also when many are made at once, and ten are kept', async () => {
    await Promise.all(Array.from({ length: 4 }, () => publishCrl(service, service.authority.id, true)));
    for (let n = 0; n < 9; n++) await publishCrl(service, service.authority.id, true);
    expect((await crls()).map((crl) => Number(crl.crl_number))).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    expect((await inLdap())?.['certificateRevocationList;binary']).toEqual([(await newest()).crl]);
  });

  test('without a cause a new one comes at half the life of the last', async () => {
    await publishCrl(service, service.authority.id, false);
    await publishCrl(service, service.authority.id, false);
    expect(await crls()).toHaveLength(1);
    await age(23.9);
    await publishCrl(service, service.authority.id, false);
    expect(await crls()).toHaveLength(1);
    await age(0.2);
    await publishCrl(service, service.authority.id, false);
    const [, second] = await crls();
    expect(second).toMatchObject({ crl_number: '2' });
    expect(second.next_update.getTime()).toBeGreaterThan(Date.now() + 47 * 3_600_000);
  });

  test('after months of rest the next is not born old', async () => {
    await publishCrl(service, service.authority.id, false);
    await age(5_000);
    await publishCrl(service, service.authority.id, false);
    expect((await newest()).this_update.getTime()).toBeGreaterThan(Date.now() - 5_000);
  });

  test('LDAP down: the list is on record and over HTTP; the next run puts it into LDAP, without another number', async () => {
    const down = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(publishCrl({ ...service, ldap: down }, service.authority.id, true)).rejects.toMatchObject({
      kind: 'unavailable',
    });
    const crl = await newest();
    expect((await supertest(service.app).get(`/crl/${service.authority.name}.crl`)).status).toBe(200);
    await publishCrl(service, service.authority.id, false);
    expect(await crls()).toHaveLength(1);
    expect((await inLdap())?.['certificateRevocationList;binary']).toEqual([crl.crl]);
  });

  test('a slow publisher never leaves an older list in LDAP', async () => {
    await publishCrl(service, service.authority.id, true);
    let overtaken = false;
    const slow: Ldap = {
      ...service.ldap,
      modify: async (...parameters) => {
        if (!overtaken) {
          overtaken = true;
          await publishCrl(service, service.authority.id, true);
        }
        return service.ldap.modify(...parameters);
      },
    };
    await publishCrl({ ...service, ldap: slow }, service.authority.id, true);
    expect((await newest()).crl_number).toBe('3');
    expect((await inLdap())?.['certificateRevocationList;binary']).toEqual([(await newest()).crl]);
  });

  test('issuing does not wait for a list that is being made', async () => {
    const waiting = await service.database.transaction();
    await lockAuthority(waiting, service.authority.id);
    try {
      expect((await issued()).serialNumber).toBeInstanceOf(Buffer);
      await waiting.raw('select 1'); // it is still held, and was not ended by the server for being idle
    } finally {
      await waiting.rollback().catch(() => undefined);
    }
  });

  test('a hundred revocations ask for one list', async () => {
    for (const { serialNumber } of [await issued(), await issued(), await issued()]) await revoke(serialNumber);
    expect((await service.queued()).filter((key) => key?.startsWith('crl:'))).toEqual([`crl:${service.authority.id}`]);
  });
});
