/** Every profile that is shipped, with every kind of key, by the rules of RFC 5280 and the S/MIME Baseline Requirements. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { Issuer } from '../issuer.ts';
import { keyKinds } from '../public-key.ts';
import { lintAuthority, lintCertificate } from './lint.ts';
import { lintList } from './lint-list.ts';
import { shippedProfile } from './openssl-judge.ts';
import {
  type Keys,
  profiles,
  sampleAuthorities,
  sampleCertificate,
  sampleEntry,
  sampleKeys,
  sampleList,
  sampleLists,
} from './samples.ts';

let keys: Keys;
let people: { root: Issuer; issuing: Issuer };
let devices: { root: Issuer; issuing: Issuer };
beforeAll(async () => {
  keys = await sampleKeys();
  people = await sampleAuthorities('rsa-2048');
  devices = await sampleAuthorities('ec-p256', true);
}, 120_000);

describe('no rule is broken by', () => {
  test.each(profiles.flatMap((profile) => profile.keyKinds.map((kind) => [profile.id, kind] as const)))(
    '%s with %s',
    async (id, keyKind) => {
      const profile = shippedProfile(id);
      const { issuing } = profile.purpose === 'device' ? devices : people;
      const certificate = await sampleCertificate(issuing, profile, keys[keyKind]);
      expect(lintCertificate(certificate, issuing.certificate.der)).toEqual([]);
    },
  );

  test.each(keyKinds)('authorities with a key of kind %s', async (keyKind) => {
    for (const forDevices of [false, true]) {
      const { root, issuing } = await sampleAuthorities(keyKind, forDevices);
      const anchor = root.certificate.der;
      expect(lintAuthority(anchor, anchor)).toEqual([]);
      expect(lintAuthority(issuing.certificate.der, anchor)).toEqual([]);
    }
  });
});

describe.each(['rsa-2048', 'ec-p384', 'ed25519'] as const)(
  'no rule is broken by a list that a key of kind %s signs',
  (keyKind) => {
    test.each(Object.entries(sampleLists))('%s', async (_, contents) => {
      const { issuing } = await sampleAuthorities(keyKind);
      const list = await sampleList(issuing, { crlNumber: 9n, ...contents() });
      expect(lintList(list, issuing.certificate.der)).toEqual([]);
    });
  },
);

describe('what is wrong is found', () => {
  const found = async (id: string, change: (octets: string) => string) => {
    const certificate = await sampleCertificate(people.issuing, shippedProfile(id), keys['rsa-2048']);
    const changed = Buffer.from(change(certificate.toString('hex')), 'hex');
    expect(changed.equals(certificate)).toBe(false);
    return lintCertificate(changed, people.issuing.certificate.der);
  };
  const text = (value: string) => Buffer.from(value).toString('hex');

  test.each([
    [
      'an address that is not public',
      text('@nghean.gov.vn'),
      text('@nghean.gov.10'),
      'is a mailbox of a public domain',
    ],
    [
      'a list by another scheme',
      text('http://pki.example.vn/issuing.crl'),
      text('file://pki.example.vn/issuing.crl'),
      '7.1.2.3 b',
    ],
    ['another country than the organization’s', text('GOVVN+22'), text('GOVLA+22'), 'appendix A'],
    ['a scheme that there is not', text('GOVVN+22'), text('XYZVN+22'), 'the form of organizationIdentifier'],
    ['a policy of another level', '67810c01050303', '67810c01050103', 'may not have organizationName'],
    ['a policy of the legacy generation', '67810c01050303', '67810c01050301', 'of the strict generation'],
    ['another key purpose', '2b06010505070304', '2b06010505070303', 'what is issued here'],
    ['key usage of another kind of key', '030206c0', '03020308', 'keyAgreement with a key of kind rsa-2048'],
  ])('%s', async (_, from, to, rule) => {
    const findings = await found('person-signature', (octets) => octets.replace(from, to));
    expect(findings.join('\n')).toContain(rule);
  });

  test('a certificate of another authority', async () => {
    const certificate = await sampleCertificate(people.issuing, shippedProfile('person-signature'), keys['ec-p256']);
    expect(lintCertificate(certificate, devices.issuing.certificate.der)).toEqual(
      expect.arrayContaining(["RFC 5280 4.2.1.1: the issuer's key identifier and nothing else"]),
    );
  });

  test('a list that revokes something later than it was made, twice, and runs too long', async () => {
    const { issuing } = people;
    const later = { ...sampleEntry('superseded'), revocationDate: new Date(Date.now() + 60_000) };
    const nextUpdate = new Date(Date.now() + 11 * 86_400_000);
    const list = await sampleList(issuing, { crlNumber: 1n, nextUpdate, entries: [later, later] });
    expect(new Set(lintList(list, issuing.certificate.der))).toEqual(
      new Set([
        'SMBR 4.9.7: the next list within ten days',
        'no revocation is later than its list',
        'a serial number once in a list',
      ]),
    );
  });
});
