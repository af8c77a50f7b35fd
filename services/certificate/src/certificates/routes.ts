/** The register of certificates, single certificates, revocation. */
import { Certificate, revocationReasons } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
} from '@congvu/http';
import { z } from 'zod';
import type { Authorities } from '../authorities/authorities.ts';
import { findAuthorityCertificate } from '../authorities/authority-store.ts';
import { toPem } from '../authority/certificate.ts';
import { actorOf, scopeOf } from '../enrolments/routes.ts';
import { listCertificates, requireCertificate } from './certificate-store.ts';
import { revokeCertificate } from './revoke-certificate.ts';

const BySerial = z.object({
  serialNumber: z.string().regex(/^([0-9a-f]{2}){1,20}$/i, 'A serial number is hexadecimal, at most 20 octets.'),
});
const csvColumns = Object.keys(Certificate.shape) as (keyof Certificate)[];
const octets = (serialNumber: string): Buffer => Buffer.from(serialNumber, 'hex');

export const certificateRoutes = (database: Database, authorities: Authorities): Route[] => [
  route({
    method: 'get',
    path: '/v1/certificates',
    summary: 'Lists certificates that you may see with request, approver and times, newest first',
    permission: ['holder', 'certificates:read'],
    query: PageQuery.extend({
      state: Certificate.shape.state.optional(),
      address: z.string().max(254).optional(),
      requestId: z.uuid().optional(),
      accountId: z.uuid().optional(),
    }),
    response: pageOf(Certificate),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, ...filters } = context.query;
      const filter = { scope: scopeOf(context), ...filters };
      const fetch = async (size: number, from: string | undefined) => {
        const rows = await listCertificates(database, filter, size, decodeTimeCursor(from));
        const page = toPage(rows, size, (row) => [row.createdAt, row.id]);
        return { ...page, items: page.items.map(({ id: _, createdAt: __, ...item }): Certificate => item) };
      };
      return listAnswer(context, '/v1/certificates', csvColumns, fetch);
    },
  }),
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
      const { wire, der, authorityId } = found;
      if (der && context.accepts('application/pem-certificate-chain')) {
        const issuer = (await findAuthorityCertificate(database, authorityId)) as Buffer;
        const pem = [der, issuer, authorities.root.certificate].map((one) => toPem('CERTIFICATE', one)).join('');
        return { headers: { 'Content-Type': 'application/pem-certificate-chain' }, body: Buffer.from(pem) };
      }
      return { body: wire };
    },
  }),
  route({
    method: 'post',
    path: '/v1/certificates/{serialNumber}/revoke',
    summary: 'Revokes a certificate; it is on the next CRL within seconds',
    permission: 'certificates:revoke',
    params: BySerial,
    // A hold follows the account: suspend that. One set here would end with the next look at an active account.
    body: z.strictObject({ reason: z.enum(revocationReasons).exclude(['certificateHold']) }),
    response: Certificate,
    handle: async (context) => {
      const serialNumber = octets(context.params.serialNumber);
      const scope = { agencyCode: client(context).agencyCode };
      await revokeCertificate(database, serialNumber, context.body.reason, scope, actorOf(context));
      return { body: (await requireCertificate(database, serialNumber, scope)).wire };
    },
  }),
];
