/** For tests of routes: a token authority of their own, with the real verification behind it. */
import { createLocalJWKSet, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { type Authenticate, tokenAudience, tokenAuthentication } from './authentication.ts';

export interface TestAuthority {
  authenticate: Authenticate;
  /** The value of an Authorization header. */
  bearer: (claims: {
    id?: string;
    kind?: 'client' | 'holder';
    agency?: string;
    permissions?: readonly string[];
    expiresIn?: string;
    issuer?: string;
    epoch?: number;
  }) => Promise<string>;
}

export async function createTestAuthority(): Promise<TestAuthority> {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const issuer = 'https://directory.test';
  const keys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), kid: 'test', alg: 'ES256' }] });
  return {
    authenticate: tokenAuthentication({ issuer, keys }),
    bearer: async (claims) => {
      const token = await new SignJWT({
        scope: (claims.permissions ?? []).join(' '),
        agency: claims.agency ?? 'H41',
        principal: claims.kind ?? 'client',
        ...(claims.epoch !== undefined && { epoch: claims.epoch }),
      })
        .setProtectedHeader({ alg: 'ES256', kid: 'test', typ: 'at+jwt' })
        .setSubject(claims.id ?? '00000000-0000-4000-8000-00000000c11e')
        .setIssuer(claims.issuer ?? issuer)
        .setAudience(tokenAudience)
        .setIssuedAt()
        .setJti(crypto.randomUUID())
        .setExpirationTime(claims.expiresIn ?? '10 minutes')
        .sign(privateKey);
      return `Bearer ${token}`;
    },
  };
}

type Json = Record<string, unknown>;
interface Operation {
  operationId?: string;
  summary?: string;
  tags?: string[];
  parameters?: { name: string; in: string; required?: boolean; schema?: Json }[];
  responses?: Record<string, { description?: string; $ref?: string }>;
  security?: Record<string, string[]>[];
}

/** What OpenAPI 3.1 (sections 4.8.8, 4.8.10, 4.8.12, 4.8.30) forbids and `document` does all the same; none is right. */
export function openApiFaults(document: Json): string[] {
  const faults: string[] = [];
  const paths = document.paths as Record<string, Record<string, Operation>>;
  const schemes = (document.components as { securitySchemes: Record<string, { flows?: Record<string, Json> }> })
    .securitySchemes;
  const scopes = Object.keys((schemes.oauth2?.flows?.clientCredentials?.scopes ?? {}) as object);
  const tags = (document.tags as { name: string }[]).map(({ name }) => name);
  const seen = new Set<string>();
  if (!/^3\.1\.\d+$/.test(String(document.openapi))) faults.push(`openapi is ${document.openapi}`);
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const at = (what: string) => faults.push(`${method} ${path}: ${what}`);
      if (!operation.operationId || seen.has(operation.operationId)) at('operationId is missing or not unique');
      seen.add(operation.operationId ?? '');
      if (!operation.summary) at('no summary');
      for (const tag of operation.tags ?? []) if (!tags.includes(tag)) at(`tag ${tag} is not declared`);
      const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const given = (operation.parameters ?? []).filter((one) => one.in === 'path');
      if (given.map((one) => one.name).join() !== named.join()) at('path parameters are not those of the path');
      if (given.some((one) => one.required !== true)) at('a path parameter is not required');
      const keys = (operation.parameters ?? []).map((one) => `${one.in} ${one.name}`);
      if (new Set(keys).size !== keys.length) at('a parameter is declared twice');
      if ((operation.parameters ?? []).some((one) => !one.schema)) at('a parameter has no schema');
      const statuses = Object.keys(operation.responses ?? {});
      if (!statuses.some((status) => /^2\d\d$/.test(status))) at('no response for success');
      for (const { description, $ref } of Object.values(operation.responses ?? {}))
        if (description === undefined && $ref === undefined) at('a response has no description');
      if (!operation.security) at('security is not said');
      for (const [scheme, wanted] of (operation.security ?? []).flatMap((one) => Object.entries(one))) {
        if (!schemes[scheme]) at(`security scheme ${scheme} is not declared`);
        for (const scope of wanted) if (!scopes.includes(scope)) at(`scope ${scope} is not declared`);
      }
    }
  }
  for (const ref of JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)) {
    const steps = (ref[1] ?? '').split('/').slice(1);
    const target = steps.reduce<unknown>((node, step) => (node as Json | undefined)?.[step], document);
    if (!ref[1]?.startsWith('#/') || target === undefined) faults.push(`${ref[1]} leads nowhere`);
  }
  return faults;
}
