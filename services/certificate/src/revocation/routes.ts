/** Revoking a certificate, now or later, and undoing what can be undone. */
import { Certificate, revocationReasons, Timestamp } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { client, type Route, type RouteContext, route } from '@congvu/http';
import { z } from 'zod';
import type { Authorities } from '../authorities/authorities.ts';
import { requireCertificate } from '../certificates/certificate-store.ts';
import { actorOf, scopeOf } from '../enrolments/routes.ts';
import { type Decider, revokeCertificate } from './revoke-certificate.ts';
import { cancelScheduled, releaseCertificate } from './undo-revocation.ts';

const BySerial = z.object({
  serialNumber: z.string().regex(/^([0-9a-f]{2}){1,20}$/i, 'A serial number is hexadecimal, at most 20 octets.'),
});
type BySerial = z.infer<typeof BySerial>;

const deciderOf = (context: RouteContext): Decider => ({
  actor: actorOf(context),
  scope: scopeOf(context),
  isAdministrator: client(context).permissions.has('certificates:revoke'),
});

export function revocationRoutes(dependencies: { database: Database; authorities: Authorities }): Route[] {
  const { database } = dependencies;
  const serialOf = ({ params }: RouteContext<BySerial>) => Buffer.from(params.serialNumber, 'hex');
  const answer = async (context: RouteContext<BySerial>) => ({
    body: (await requireCertificate(database, serialOf(context), scopeOf(context))).wire,
  });
  return [
    route({
      method: 'post',
      path: '/v1/certificates/{serialNumber}/revoke',
      summary: 'Revokes a certificate, puts it on hold, or schedules its revocation',
      description:
        'At once: it is on the next CRL within seconds. With revokeAt: within a minute of then. certificateHold ends by release-hold; it does not end with a suspension of the account.',
      permission: ['holder', 'certificates:enrol', 'certificates:revoke'],
      params: BySerial,
      body: z.strictObject({
        reason: z.enum(revocationReasons),
        invalidityDate: Timestamp.optional().describe('Since when it is not to be trusted, as far as is known'),
        revokeAt: Timestamp.optional().describe('When; at once if left out'),
      }),
      response: Certificate,
      handle: async (context) => {
        const { reason, invalidityDate, revokeAt } = context.body;
        const request = {
          reason,
          invalidityDate: invalidityDate === undefined ? undefined : new Date(invalidityDate),
          revokeAt: revokeAt === undefined ? undefined : new Date(revokeAt),
        };
        await revokeCertificate(dependencies, serialOf(context), request, deciderOf(context));
        return answer(context);
      },
    }),
    route({
      method: 'post',
      path: '/v1/certificates/{serialNumber}/release-hold',
      summary: 'Ends a hold; no other revocation can be undone',
      permission: 'certificates:revoke',
      params: BySerial,
      response: Certificate,
      handle: async (context) => {
        await releaseCertificate(database, serialOf(context), deciderOf(context));
        return answer(context);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/certificates/{serialNumber}/scheduled-revocation',
      summary: 'Cancels a revocation that lies ahead',
      permission: ['certificates:enrol', 'certificates:revoke'],
      params: BySerial,
      response: Certificate,
      handle: async (context) => {
        await cancelScheduled(database, serialOf(context), deciderOf(context));
        return answer(context);
      },
    }),
  ];
}
