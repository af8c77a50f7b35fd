import { ServiceError } from '@congvu/errors';
import { expect, test } from '@jest/globals';
import { smimePolicy } from './oids.ts';
import { testProfile } from './openssl-judge.ts';
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
      crlDistributionPoints: ['https://pki.example.vn/issuing.crl'],
      caIssuers: [],
    }),
  ).toEqual([
    '/id format',
    '/keyKinds/1 value',
    '/crlDistributionPoints/0 value',
    '/caIssuers empty',
    '/validityDays range',
  ]);
});

test.each([
  ['a usage of authorities', { keyUsage: ['digitalSignature', 'keyCertSign'] }, '/keyUsage authority_only'],
  ['an RSA usage for EC keys', { keyUsage: ['digitalSignature', 'keyEncipherment'] }, '/keyUsage key_kind'],
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
