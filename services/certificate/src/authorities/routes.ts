/** Who issues here, and what: the authorities whose keys are here, and the profiles. */
import { CertificateAuthority, CertificateProfile } from '@congvu/contracts';
import { type Route, route } from '@congvu/http';
import { z } from 'zod';
import { fingerprintOf } from '../authority/certificate.ts';
import type { Authorities } from './authorities.ts';

const permission = ['holder', 'certificates:read', 'certificates:enrol'] as const;

export const authorityRoutes = (authorities: Authorities): Route[] => [
  route({
    method: 'get',
    path: '/v1/authorities',
    summary: 'The issuing authorities: those that issue, and those whose certificates still live',
    permission,
    response: z.object({ items: z.array(CertificateAuthority) }),
    handle: async () => ({ body: { items: authorities.all.map((one) => toWire(one, authorities)) } }),
  }),
  route({
    method: 'get',
    path: '/v1/profiles',
    summary: 'The certificate profiles: for whom, which keys, for how long, by which rules',
    permission,
    response: z.object({ items: z.array(CertificateProfile) }),
    handle: async () => ({
      body: {
        items: [...authorities.profiles.values()].map((profile) => ({
          id: profile.id,
          purpose: profile.purpose,
          accountKinds: [...profile.accountKinds],
          paths: [...profile.paths],
          keyKinds: [...profile.keyKinds],
          validityDays: profile.validityDays,
          fourEyes: profile.fourEyes,
          escrow: profile.escrow,
          maySelfRevoke: profile.maySelfRevoke,
          onTransfer: profile.onTransfer,
          renewal: { ...profile.renewal },
          authority: issuerOf(profile.id, authorities)?.name ?? null,
        })),
      },
    }),
  }),
];

/** Undefined where nobody issues it. */
function issuerOf(profileId: string, authorities: Authorities) {
  try {
    return authorities.issuing(profileId).authority;
  } catch {
    return undefined;
  }
}

function toWire(authority: Authorities['all'][number], authorities: Authorities): CertificateAuthority {
  const { issuer, name, purposes, crlPartitions, state } = authority;
  const { certificate, keyKind } = issuer;
  return {
    name,
    purposes: [...purposes],
    state,
    keyKind,
    crlPartitions,
    profiles: [...authorities.profiles.keys()].filter((id) => issuerOf(id, authorities) === authority),
    serialNumber: certificate.serialNumber.toString('hex'),
    notBefore: certificate.notBefore.toISOString(),
    notAfter: certificate.notAfter.toISOString(),
    fingerprintSha256: fingerprintOf(certificate.der),
  };
}
