/** The register of all certificates, for auditors: filtered, counted, found by fingerprint. */
import {
  Certificate,
  CertificateCount,
  certificateCountFilters,
  certificateFilters,
  Fingerprint,
} from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import {
  client,
  decodeSortCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
} from '@congvu/http';
import { parseAgencyCode } from '@congvu/vietnamese';
import { z } from 'zod';
import { toPem } from '../authority/certificate.ts';
import { scopeOf } from '../enrolments/routes.ts';
import { listCounts } from './count-store.ts';
import { findDer, listRegister } from './register-store.ts';

const columns = Object.keys(Certificate.shape) as (keyof Certificate)[];
const countColumns = Object.keys(CertificateCount.shape) as (keyof CertificateCount)[];
const pemType = 'application/pem-certificate-chain';

const SortKey = (sort: string) => z.tuple([z.literal(sort), z.iso.datetime().startsWith('2'), z.uuid()]);
const CountKey = z.tuple([z.string().max(40), z.string().max(7)]);

/** Before `/v1/certificates/{serialNumber}`, which would take the word for a serial number. */
export const registerRoutes = (database: Database): Route[] => [
  route({
    method: 'get',
    path: '/v1/certificates',
    summary:
      'The register: certificates issued here and by the Government’s CA, with request, approver, revocation and pickup',
    description:
      'Newest first, or with `sort=expiry` what ends first first. An agency sees what was issued for it or one below, and what the accounts that it has now hold.',
    permission: ['holder', 'certificates:read'],
    query: PageQuery.extend({ ...certificateFilters, sort: z.enum(['newest', 'expiry']).default('newest') }),
    response: pageOf(Certificate),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, sort, agencyCode, ...filters } = context.query;
      const filter = { ...filters, agencyCode: agencyCode && canonical(agencyCode) };
      const scope = scopeOf(context);
      const fetch = async (size: number, from: string | undefined) => {
        const after = decodeSortCursor(from, SortKey(sort), 3);
        const rows = await listRegister(database, scope, filter, sort, size + 1, after && [after[1], after[2]]);
        const page = toPage(rows, size, (row) => [sort, row.sortAt, row.id]);
        return { ...page, items: page.items.map(({ wire }) => wire) };
      };
      return listAnswer(context, '/v1/certificates', columns, fetch);
    },
  }),
  route({
    method: 'get',
    path: '/v1/certificates/counts',
    summary: 'How many certificates were issued, revoked and ran out, by agency and month',
    permission: 'certificates:read',
    query: PageQuery.extend(certificateCountFilters),
    response: pageOf(CertificateCount),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, agencyCode, ...filters } = context.query;
      const filter = {
        ...filters,
        scope: client(context).agencyCode,
        agencyCode: agencyCode && canonical(agencyCode),
      };
      const fetch = async (size: number, from: string | undefined) => {
        const rows = await listCounts(database, filter, size + 1, decodeSortCursor(from, CountKey, 2));
        return toPage(rows, size, (row) => [row.agencyCode, row.month]);
      };
      return listAnswer(context, '/v1/certificates/counts', countColumns, fetch);
    },
  }),
  route({
    method: 'get',
    path: '/v1/certificates/by-fingerprint/{sha256}',
    summary: 'One certificate by the SHA-256 of its DER; as PEM by Accept: application/pem-certificate-chain',
    description: 'With or without colons, in capitals or not.',
    permission: ['holder', 'certificates:read'],
    params: z.object({ sha256: Fingerprint }),
    response: Certificate,
    produces: ['application/json', pemType],
    handle: async (context) => {
      const filter = { fingerprintSha256: context.params.sha256 };
      const [entry] = await listRegister(database, scopeOf(context), filter, 'newest', 1, undefined);
      if (!entry) throw notFound();
      if (!context.accepts(pemType)) return { body: entry.wire };
      const der = await findDer(database, entry.wire, entry.id);
      if (!der) throw notFound();
      return { headers: { 'Content-Type': pemType }, body: Buffer.from(toPem('CERTIFICATE', der)) };
    },
  }),
];

function canonical(agencyCode: string): string {
  const result = parseAgencyCode(agencyCode);
  if (result.ok) return result.code;
  const pointer = 'query/agencyCode';
  throw invalid(
    'agency_code_invalid',
    result.faults.map((fault) => ({ pointer, ...fault })),
  );
}

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'certificate_not_found',
    detail: 'There is no certificate of that fingerprint at or below your agency.',
  });
