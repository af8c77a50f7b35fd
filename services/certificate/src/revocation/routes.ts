/** What relying parties fetch, without a token: CRLs and CA certificates, at the URLs that stand in every certificate. */
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Route, type RouteAnswer, route } from '@congvu/http';
import { z } from 'zod';
import { type Authorities, crlNameOf } from '../authorities/authorities.ts';
import { findNewestCrl } from './crl-store.ts';

const ByFile = z.object({ file: z.string().regex(/^[a-z0-9-]{1,40}\.(crl|crt)$/) });

/** Shorter than the time within which a revocation has to be seen. */
const crlMaxAgeSeconds = 60;

export const revocationRoutes = (database: Database, authorities: Authorities): Route[] => [
  route({
    method: 'get',
    path: '/crl/{file}',
    summary: 'The newest CRL of an authority (DER)',
    permission: 'public',
    params: ByFile,
    produces: ['application/pkix-crl'],
    handle: async (context) => {
      const { file } = context.params;
      if (file === `${crlNameOf(authorities.root.name, 0)}.crl`) return crlAnswer(authorities.root.crl, undefined);
      const authority = authorities.all.find(({ name }) => file === `${crlNameOf(name, 0)}.crl`);
      const newest = authority && (await findNewestCrl(database, authority.id));
      if (!newest) throw notFound();
      return crlAnswer(newest.crl, newest.this_update);
    },
  }),
  route({
    method: 'get',
    path: '/ca/{file}',
    summary: 'The certificate of an authority (DER)',
    permission: 'public',
    params: ByFile,
    produces: ['application/pkix-cert'],
    handle: async (context) => {
      const { root, all } = authorities;
      const certificates = new Map([
        [`${root.name}.crt`, root.certificate],
        ...all.map(({ name, issuer }) => [`${name}.crt`, issuer.certificate.der] as const),
      ]);
      const certificate = certificates.get(context.params.file);
      if (!certificate) throw notFound();
      return {
        headers: { 'Content-Type': 'application/pkix-cert', 'Cache-Control': 'public, max-age=86400' },
        body: certificate,
      };
    },
  }),
];

const crlAnswer = (crl: Buffer, modified: Date | undefined): RouteAnswer => ({
  headers: {
    'Content-Type': 'application/pkix-crl',
    'Cache-Control': `public, max-age=${crlMaxAgeSeconds}`,
    ...(modified ? { 'Last-Modified': modified.toUTCString() } : {}),
  },
  body: crl,
});

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'no_such_authority',
    detail: 'There is no authority of that name here.',
  });
