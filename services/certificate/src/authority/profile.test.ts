import { ServiceError } from '@congvu/errors';
import { expect, test } from '@jest/globals';
import { testProfile } from './judges/openssl-judge.ts';
import { smimePolicy } from './oids.ts';
import { checkProfile, type Profile } from './profile.ts';

function faultsOf(change: object): string[] {
  try {
    checkProfile({ ...testProfile, ...change } as Profile);
    return [];
  } catch (error) {
    if (!(error instanceof ServiceError) || error.code !== 'profile_invalid') throw error;
    return error.faults.map((fault) => `${fault.pointer} ${fault.code}`);
  }
}

test('the person-signature profile is sound', () => {
  expect(checkProfile(testProfile)).toBe(testProfile);
});

test('all faults are found at once', () => {
  expect(
    faultsOf({
      id: 'Person Signature',
      validityDays: 826,
      keyKinds: ['rsa-2048', 'rsa-1024'],
      renewal: { daysBefore: 0, sameKey: true },
      subject: [{ attribute: 'commonName', from: 'csr', required: true }],
    }),
  ).toEqual([
    '/id format',
    '/renewal/daysBefore range',
    '/keyKinds/1 value',
    '/subject/0/from value',
    '/keyUsage/ec key_kind',
    '/keyUsage/ed25519 key_kind',
    '/validityDays range',
    '/subject smime_subject',
    '/subject smime_subject',
    '/subject smime_subject',
  ]);
});

test.each([
  [
    'a usage of authorities',
    { keyUsage: { rsa: ['digitalSignature', 'keyCertSign'] } },
    '/keyUsage/rsa authority_only',
  ],
  ['an RSA usage for EC keys', { keyUsage: { ec: ['digitalSignature', 'keyEncipherment'] } }, '/keyUsage/ec key_kind'],
  ['a second purpose', { extendedKeyUsage: ['emailProtection', 'clientAuth'] }, '/extendedKeyUsage smime_strict'],
  ['no reserved policy', { certificatePolicies: ['2.25.1'] }, '/certificatePolicies smime_policy'],
  ['an optional address', { subjectAltName: [{ kind: 'rfc822Name', required: false }] }, '/subjectAltName required'],
  [
    'an agency in an individual-validated certificate',
    { certificatePolicies: [smimePolicy.individualValidatedStrict] },
    '/subject smime_subject',
  ],
])('refuses %s', (_, change, fault) => {
  expect(faultsOf(change)).toContain(fault);
});
