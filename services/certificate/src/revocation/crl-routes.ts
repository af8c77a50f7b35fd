/** What relying parties fetch, without a token: CRLs and CA certificates, at the URLs that stand in every certificate. */
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Route, type RouteAnswer, route } from '@congvu/http';
import { z } from 'zod';
import { type Authorities, crlNameOf } from '../authorities/authorities.ts';
import { readCrl } from './held-crl.ts';
import { deltaSuffix } from './make-crl.ts';

const ByFile = z.object({ file: z.string().regex(/^[a-z0-9-]{1,60}\.(crl|crt)$/) });

/** Shorter than the time within which a revocation has to be seen. */
const crlMaxAgeSeconds = 60;

export const crlRoutes = (database: Database, authorities: Authorities): Route[] => [
  route({
    method: 'get',
    path: '/crl/{file}',
    summary: 'The newest CRL of an authority, of one of its partitions, or the delta of either (DER)',
    description: 'With ETag and Last-Modified; asked by them, 304 while there is no newer one.',
    permission: 'public',
    params: ByFile,
    produces: ['application/pkix-crl'],
    handle: async (context) => {
      const name = context.params.file.slice(0, -'.crl'.length);
      if (context.params.file === `${authorities.root.name}.crl`) return crlAnswer(authorities.root.crl, undefined);
      const isDelta = name.endsWith(deltaSuffix);
      const list =
        context.params.file.endsWith('.crl') &&
        findList(authorities, isDelta ? name.slice(0, -deltaSuffix.length) : name);
      const newest = list ? await readCrl(database, list) : undefined;
      const crl = isDelta ? newest?.delta : newest?.crl;
      if (!newest || !crl) throw notFound();
      return crlAnswer(crl, newest);
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

/** Names of authorities never end as those of partitions do. */
function findList(authorities: Authorities, name: string): { authorityId: string; partition: number } | undefined {
  const partition = Number(/-(\d{1,3})$/.exec(name)?.[1] ?? 0);
  const authority = authorities.all.find((one) => crlNameOf(one.name, partition) === name);
  return authority && { authorityId: authority.id, partition };
}

const crlAnswer = (crl: Buffer, list: { version: string; thisUpdate: Date } | undefined): RouteAnswer => ({
  headers: {
    'Content-Type': 'application/pkix-crl',
    'Cache-Control': `public, max-age=${crlMaxAgeSeconds}`,
    ...(list && { ETag: `"${list.version}"`, 'Last-Modified': list.thisUpdate.toUTCString() }),
  },
  body: crl,
});

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'no_such_authority',
    detail: 'There is no authority, or list of one, of that name here.',
  });
