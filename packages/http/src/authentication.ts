/**
 * Who is asking: verifies OAuth 2.0 bearer tokens (RFC 6750) that are JWTs in the access-token profile (RFC 9068),
 * signed ES256 by the directory service, and says what the bearer may do. Nothing is taken from the token before its
 * signature, issuer, audience and expiry hold.
 */
import { ServiceError } from '@congvu/errors';
import { createRemoteJWKSet, errors, type JWTVerifyGetKey, jwtVerify } from 'jose';

export const tokenAudience = 'congvu';

/** A program acting for an agency and everything below it, or a person acting for the own account alone. */
export interface Principal {
  kind: 'client' | 'holder';
  /** client id, or account id of a holder */
  id: string;
  /** agency whose subtree a client acts for; the holder's own agency */
  agencyCode: string;
  permissions: ReadonlySet<string>;
  /** A holder's: a token of an earlier epoch than the account's is of somebody who held it before. */
  credentialEpoch: number;
}

export type Authenticate = (authorization: string | undefined) => Promise<Principal>;

/** Keys from the directory service's JWKS document, cached; an unknown key id is asked for again at most each 5 s. */
export const remoteKeys = (jwksUrl: string): JWTVerifyGetKey =>
  createRemoteJWKSet(new URL(jwksUrl), { cooldownDuration: 5_000, timeoutDuration: 3_000, cacheMaxAge: 600_000 });

/**
 * A token that was found good is not verified again at each of a thousand requests a second; but for this long at most, because the key
 * that signed it may have been withdrawn.
 */
const rememberedMs = 10_000;
const mostRemembered = 1_000;

export function tokenAuthentication(options: { issuer: string; keys: JWTVerifyGetKey }): Authenticate {
  const remembered = new Map<string, { principal: Principal; until: number }>();
  const remember = (token: string, principal: Principal, expiresAt: number): void => {
    if (remembered.size >= mostRemembered) remembered.clear();
    remembered.set(token, { principal, until: Math.min(Date.now() + rememberedMs, expiresAt) });
  };

  return async (authorization) => {
    const token = /^Bearer +([\w-]+\.[\w-]+\.[\w-]+)$/i.exec(authorization ?? '')?.[1];
    if (!token) {
      throw new ServiceError({
        kind: 'unauthenticated',
        code: authorization ? 'token_invalid' : 'token_missing',
        detail: 'Send an access token: "Authorization: Bearer …" (from POST /oauth/token of the directory service).',
      });
    }
    const known = remembered.get(token);
    if (known && Date.now() < known.until) return known.principal;
    try {
      const { payload } = await jwtVerify(token, options.keys, {
        issuer: options.issuer,
        audience: tokenAudience,
        algorithms: ['ES256'],
        typ: 'at+jwt',
        requiredClaims: ['sub', 'exp', 'iat', 'jti', 'agency', 'principal'],
        clockTolerance: 5,
      });
      const principal: Principal = {
        kind: payload.principal === 'holder' ? 'holder' : 'client',
        id: String(payload.sub),
        agencyCode: String(payload.agency),
        credentialEpoch: Number(payload.epoch ?? 1),
        permissions: new Set(
          String(payload.scope ?? '')
            .split(' ')
            .filter(Boolean),
        ),
      };
      remember(token, principal, Number(payload.exp) * 1_000);
      return principal;
    } catch (error) {
      throw refusal(error);
    }
  };
}

function refusal(error: unknown): ServiceError {
  if (error instanceof errors.JWTExpired) {
    return new ServiceError({
      kind: 'unauthenticated',
      code: 'token_expired',
      detail: 'The access token has expired; ask for a new one.',
      cause: error,
    });
  }
  const keysUnreachable = error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError);
  if (keysUnreachable || (error instanceof errors.JOSEError && error.code === 'ERR_JOSE_GENERIC')) {
    return new ServiceError({
      kind: 'unavailable',
      code: 'keys_unavailable',
      detail: 'The token cannot be checked because the directory service does not answer; try again shortly.',
      retryAfterSeconds: 5,
      cause: error,
    });
  }
  return new ServiceError({
    kind: 'unauthenticated',
    code: 'token_invalid',
    detail: 'The access token is not one that this platform issued, or it was altered.',
    cause: error,
  });
}
