/** Enrolments: list, send a CSR, pick up a server-made key. */
import { Enrolment } from '@congvu/contracts';
import {
  client,
  decodeTimeCursor,
  PageQuery,
  pageAnswer,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
} from '@congvu/http';
import { z } from 'zod';
import { toPem } from '../authority/certificate.ts';
import type { HolderScope, Scope } from '../certificates/certificate-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { listEnrolments, requireEnrolment } from './enrolment-store.ts';
import { pickUp } from './pick-up.ts';
import { submitCsr } from './submit-csr.ts';

const ById = z.object({ id: z.uuid() });

/** A holder sees the own account, a client its agency's subtree. */
export function scopeOf(context: RouteContext): Scope {
  const principal = client(context);
  return principal.kind === 'holder' ? holderOf(context) : { agencyCode: principal.agencyCode };
}

const holderOf = (context: RouteContext): HolderScope => {
  const { id: accountId, credentialEpoch } = client(context);
  return { accountId, credentialEpoch };
};

export const actorOf = (context: RouteContext) => ({
  kind: client(context).kind,
  id: client(context).id,
  ip: context.ip || null,
});

export const enrolmentRoutes = (dependencies: EnrolmentDependencies): Route[] => [
  route({
    method: 'get',
    path: '/v1/enrolments',
    summary: 'Lists enrolments that you may see, newest first',
    permission: ['holder', 'certificates:read', 'certificates:enrol'],
    query: PageQuery.extend({ state: Enrolment.shape.state.optional(), accountId: z.uuid().optional() }),
    response: pageOf(Enrolment),
    handle: async (context) => {
      const { limit, cursor, ...filters } = context.query;
      const after = decodeTimeCursor(cursor);
      const rows = await listEnrolments(dependencies.database, { scope: scopeOf(context), ...filters }, limit, after);
      return pageAnswer(
        toPage(rows, limit, (row) => [row.createdAt, row.id]),
        '/v1/enrolments',
        context.query,
      );
    },
  }),
  route({
    method: 'get',
    path: '/v1/enrolments/{id}',
    summary: 'One enrolment',
    permission: ['holder', 'certificates:read', 'certificates:enrol'],
    params: ById,
    response: Enrolment,
    handle: async (context) => ({
      body: await requireEnrolment(dependencies.database, context.params.id, scopeOf(context)),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/enrolments/{id}/csr',
    summary: 'Sends a CSR (PKCS#10); the certificate comes back',
    description: 'The CSR brings the key and proves its possession; subject and names come from the directory.',
    permission: ['holder', 'certificates:enrol'],
    params: ById,
    body: z.strictObject({ csr: z.string().max(20_000).describe('PEM') }),
    maxBodyBytes: 32 * 1024,
    status: 201,
    response: z.object({
      serialNumber: z.string(),
      certificate: z.string().describe('PEM'),
      chain: z.array(z.string()).describe('PEM, from the issuer upwards'),
      ignoredSubject: z.boolean().describe('Whether the CSR named a subject, which was not used'),
    }),
    handle: async (context) => {
      const { authorityId, serialNumber, certificate, ignoredSubject } = await submitCsr(
        dependencies,
        context.params.id,
        context.body.csr,
        scopeOf(context),
        actorOf(context),
      );
      return {
        body: {
          serialNumber: serialNumber.toString('hex'),
          certificate: toPem('CERTIFICATE', certificate),
          chain: dependencies.authorities.byId(authorityId).chain.map((one) => toPem('CERTIFICATE', one)),
          ignoredSubject,
        },
      };
    },
  }),
  route({
    method: 'post',
    path: '/v1/enrolments/{id}/pickup',
    summary: 'Picks up the server-made key as PKCS#12, once',
    description:
      'The passphrase is the holder’s own: 12 to 128 printable ASCII characters. Form "legacy" is for programs that open only 3DES.',
    permission: 'holder',
    params: ById,
    body: z.strictObject({ passphrase: z.string().max(200), form: z.enum(['modern', 'legacy']).default('modern') }),
    produces: ['application/x-pkcs12'],
    handle: async (context) => {
      const { id } = context.params;
      const file = await pickUp(dependencies, id, holderOf(context), context.body, actorOf(context));
      return {
        headers: {
          'Content-Type': 'application/x-pkcs12',
          'Content-Disposition': 'attachment; filename="congvu.p12"',
          'Cache-Control': 'no-store',
        },
        body: file,
      };
    },
  }),
];
