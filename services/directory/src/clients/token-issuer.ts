/** Signs access tokens (RFC 9068, ES256) and publishes the key that verifies them (RFC 7517). */
import { randomUUID } from 'node:crypto';
import { tokenAudience } from '@congvu/http';
import { calculateJwkThumbprint, exportJWK, importPKCS8, type JWK, SignJWT } from 'jose';

export interface TokenIssuer {
  issuer: string;
  keySet: { keys: JWK[] };
  issue: (bearer: {
    kind: 'client' | 'holder';
    id: string;
    agencyCode: string;
    permissions: readonly string[];
    /** Of a holder: the epoch of the account. */
    credentialEpoch?: number;
  }) => Promise<{ token: string; expiresInSeconds: number }>;
}

/** A stolen token is good for this long at most, and so is one of a client that was disabled. */
export const tokenSeconds = 600;

export async function createTokenIssuer(options: { issuer: string; signingKeyPem: string }): Promise<TokenIssuer> {
  const key = await importPKCS8(options.signingKeyPem, 'ES256', { extractable: true });
  const { d: _, ...publicJwk } = await exportJWK(key);
  const kid = await calculateJwkThumbprint(publicJwk);
  return {
    issuer: options.issuer,
    keySet: { keys: [{ ...publicJwk, kid, alg: 'ES256', use: 'sig' }] },
    issue: async ({ kind, id, agencyCode, permissions, credentialEpoch }) => {
      const token = await new SignJWT({
        scope: permissions.join(' '),
        agency: agencyCode,
        principal: kind,
        client_id: id,
        ...(credentialEpoch !== undefined && { epoch: credentialEpoch }),
      })
        .setProtectedHeader({ alg: 'ES256', kid, typ: 'at+jwt' })
        .setSubject(id)
        .setIssuer(options.issuer)
        .setAudience(tokenAudience)
        .setIssuedAt()
        .setJti(randomUUID())
        .setExpirationTime(`${tokenSeconds} seconds`)
        .sign(key);
      return { token, expiresInSeconds: tokenSeconds };
    },
  };
}
