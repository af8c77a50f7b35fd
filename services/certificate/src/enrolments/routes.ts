/** Enrolments: list, send a CSR, pick up a server-made key. */
import {
  Enrolment,
  EnrolmentDecision,
  EnrolmentInput,
  EnrolmentRejection,
  RenewalInput,
  RequestEnrolments,
  RequestEnrolmentsInput,
} from '@congvu/contracts';
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
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Authority } from '../authorities/authorities.ts';
import { toPem } from '../authority/certificate.ts';
import type { HolderScope, Scope } from '../certificates/certificate-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { decideEnrolment, withdrawEnrolment } from './decide-enrolment.ts';
import { listEnrolments, requireEnrolment } from './enrolment-store.ts';
import { openEnrolment } from './open-enrolment.ts';
import { openForRequest } from './open-for-request.ts';
import { pickUp } from './pick-up.ts';
import { pickUpRequest } from './pick-up-request.ts';
import { renewCertificate } from './renew-certificate.ts';
import { showPassphrase } from './show-passphrase.ts';
import { submitCsr } from './submit-csr.ts';
import { submitCsrs } from './submit-csrs.ts';

const ById = z.object({ id: z.uuid() });
const BySerial = z.object({
  serialNumber: z.string().regex(/^([0-9a-f]{2}){1,20}$/i, 'A serial number is hexadecimal.'),
});

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

export const scopedActorOf = (context: RouteContext) => ({
  ...actorOf(context),
  agencyCode: client(context).agencyCode,
});
const form = z.enum(['modern', 'legacy']).default('modern');

export const enrolmentRoutes = (dependencies: EnrolmentDependencies & { log: Logger }): Route[] => [
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
      ignoredSubject: z
        .boolean()
        .describe('Whether the CSR named a subject or asked for extensions, which were not used'),
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
          chain: chainOf(dependencies.authorities.byId(authorityId)),
          ignoredSubject,
        },
      };
    },
  }),
  route({
    method: 'post',
    path: '/v1/enrolments',
    summary: 'Asks for a certificate of a profile that no request to the directory orders',
    description: 'For encryption, and for devices. Where the profile asks for a second person it awaits approval.',
    permission: ['holder', 'certificates:enrol'],
    body: EnrolmentInput,
    idempotent: true,
    status: 201,
    response: Enrolment,
    handle: async (context) => {
      const scope = scopeOf(context);
      const id = await openEnrolment(dependencies, context.body, scope, actorOf(context), context.idempotencyKey);
      return { body: await requireEnrolment(dependencies.database, id, scope) };
    },
  }),
  ...(['approve', 'reject'] as const).map((word) =>
    route({
      method: 'post',
      path: `/v1/enrolments/{id}/${word}`,
      summary:
        word === 'approve' ? 'Agrees to a certificate that somebody else asked for' : 'Refuses it, with the reason',
      permission: 'certificates:approve',
      params: ById,
      body: word === 'approve' ? EnrolmentDecision : EnrolmentRejection,
      response: Enrolment,
      handle: async (context) => {
        const decision = { approved: word === 'approve', remark: context.body.remark ?? null };
        const scope = scopeOf(context);
        await decideEnrolment(dependencies, context.params.id, decision, scope, actorOf(context));
        return { body: await requireEnrolment(dependencies.database, context.params.id, scope) };
      },
    }),
  ),
  route({
    method: 'post',
    path: '/v1/enrolments/{id}/withdraw',
    summary: 'Takes back what was asked for, before it has a key',
    permission: ['holder', 'certificates:enrol'],
    params: ById,
    response: Enrolment,
    handle: async (context) => {
      const scope = scopeOf(context);
      await withdrawEnrolment(dependencies, context.params.id, scope, actorOf(context));
      return { body: await requireEnrolment(dependencies.database, context.params.id, scope) };
    },
  }),
  route({
    method: 'post',
    path: '/v1/enrolments/{id}/pickup',
    summary: 'Picks up the server-made key as PKCS#12, once',
    description:
      'The holder’s own passphrase has 12 to 128 printable ASCII characters. Without one, and always for a client, the file is under the passphrase that POST …/passphrase shows to the holder. Form "legacy" is for programs that open only 3DES.',
    permission: ['holder', 'certificates:enrol'],
    params: ById,
    body: z.strictObject({ passphrase: z.string().max(200).optional(), form }),
    produces: ['application/x-pkcs12'],
    handle: async (context) => {
      const { id } = context.params;
      const file = await pickUp(dependencies, id, scopeOf(context), context.body, actorOf(context));
      return { headers: fileHeaders('application/x-pkcs12', 'congvu.p12'), body: file };
    },
  }),
  route({
    method: 'post',
    path: '/v1/enrolments/{id}/passphrase',
    summary: 'Shows the holder the passphrase of the file that the agency hands over',
    permission: 'holder',
    params: ById,
    response: z.object({ passphrase: z.string() }),
    handle: async (context) => ({
      headers: { 'Cache-Control': 'no-store' },
      body: {
        passphrase: await showPassphrase(dependencies, context.params.id, holderOf(context), actorOf(context)),
      },
    }),
  }),
  route({
    method: 'post',
    path: '/v1/enrolments/bulk-csr',
    summary: 'Sends the CSRs of many enrolments, a line of JSON each; the answer has a line for each',
    description: 'A line is {"enrolmentId": "…", "csr": "PEM"}. Lines succeed and fail one by one.',
    permission: 'certificates:enrol',
    body: z.string(),
    consumes: 'application/x-ndjson',
    maxBodyBytes: 8 * 1024 * 1024,
    produces: ['application/x-ndjson'],
    handle: async (context) => ({
      headers: { 'Content-Type': 'application/x-ndjson' },
      body: submitCsrs(dependencies, context.body, scopeOf(context), actorOf(context), (error) =>
        dependencies.log.error({ err: error }, 'a line of a bulk of CSRs failed'),
      ),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/requests/{id}/enrolments',
    summary: 'Asks for the same certificate for every account that a request opened',
    permission: 'certificates:enrol',
    params: ById,
    body: RequestEnrolmentsInput,
    response: RequestEnrolments,
    handle: async (context) => ({
      body: await openForRequest(dependencies, context.params.id, context.body, scopedActorOf(context)),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/requests/{id}/pickup',
    summary: 'Picks up the server-made keys of a whole request as a ZIP of PKCS#12 files',
    description: 'Each is under a passphrase that its holder alone is shown (POST /v1/enrolments/{id}/passphrase).',
    permission: 'certificates:enrol',
    params: ById,
    body: z.strictObject({ form }),
    produces: ['application/zip'],
    handle: async (context) => ({
      headers: fileHeaders('application/zip', 'congvu-keys.zip'),
      body: await pickUpRequest(dependencies, context.params.id, context.body.form, scopedActorOf(context)),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/certificates/{serialNumber}/renew',
    summary: 'Asks for the certificate that follows; the present one stays valid until its end',
    description:
      'A new key comes as the old one came: made here, or by a CSR to the enrolment in the answer. Open from the days before its end that the profile names.',
    permission: ['holder', 'certificates:enrol'],
    params: BySerial,
    body: RenewalInput,
    idempotent: true,
    status: 201,
    response: Enrolment,
    handle: async (context) => {
      const scope = scopeOf(context);
      const id = await renewCertificate(
        dependencies,
        Buffer.from(context.params.serialNumber, 'hex'),
        context.body,
        scope,
        actorOf(context),
        context.idempotencyKey,
      );
      return { body: await requireEnrolment(dependencies.database, id, scope) };
    },
  }),
];

const chains = new WeakMap<Authority, string[]>();
/** PEM; the same for every certificate of an authority. */
function chainOf(authority: Authority): string[] {
  const known = chains.get(authority) ?? authority.chain.map((one) => toPem('CERTIFICATE', one));
  chains.set(authority, known);
  return known;
}

const fileHeaders = (type: string, name: string) => ({
  'Content-Type': type,
  'Content-Disposition': `attachment; filename="${name}"`,
  'Cache-Control': 'no-store',
});
