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
