/** Single certificates. */
import { Certificate } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { type Route, route } from '@congvu/http';
import { z } from 'zod';
import type { Authorities } from '../authorities/authorities.ts';
import { findAuthorityCertificate } from '../authorities/authority-store.ts';
import { toPem } from '../authority/certificate.ts';
import { scopeOf } from '../enrolments/routes.ts';
import { requireCertificate } from './certificate-store.ts';

const BySerial = z.object({
  serialNumber: z.string().regex(/^([0-9a-f]{2}){1,20}$/i, 'A serial number is hexadecimal, at most 20 octets.'),
});
const octets = (serialNumber: string): Buffer => Buffer.from(serialNumber, 'hex');

export const certificateRoutes = (database: Database, authorities: Authorities): Route[] => [
  route({
    method: 'get',
    path: '/v1/certificates/{serialNumber}',
    summary: 'One certificate; as PEM with its chain by Accept: application/pem-certificate-chain',
    permission: ['holder', 'certificates:read'],
    params: BySerial,
    response: Certificate,
    produces: ['application/json', 'application/pem-certificate-chain'],
    handle: async (context) => {
      const found = await requireCertificate(database, octets(context.params.serialNumber), scopeOf(context));
      const { wire, issued } = found;
      if (issued && context.accepts('application/pem-certificate-chain')) {
        const issuer = (await findAuthorityCertificate(database, issued.authorityId)) as Buffer;
        const pem = [issued.der, issuer, authorities.root.certificate].map((one) => toPem('CERTIFICATE', one)).join('');
        return { headers: { 'Content-Type': 'application/pem-certificate-chain' }, body: Buffer.from(pem) };
      }
      return { body: wire };
    },
  }),
];
