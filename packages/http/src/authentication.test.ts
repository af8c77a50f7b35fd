/** What is remembered of a token that was found good, and for how long. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { generateKeyPair, type JWTVerifyGetKey, SignJWT } from 'jose';
import { tokenAudience, tokenAuthentication } from './authentication.ts';

const issuer = 'https://directory.test';
const start = Date.parse('2026-11-20T08:00:00Z');
const { privateKey, publicKey } = await generateKeyPair('ES256');
let asked = 0;
let withdrawn = false;
const keys: JWTVerifyGetKey = async () => {
  asked += 1;
  if (withdrawn) throw new Error('the key set does not answer');
  return publicKey;
};

beforeEach(() => {
  asked = 0;
  withdrawn = false;
  jest.useFakeTimers({ now: start, doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'setTimeout'] });
});
afterEach(() => {
  jest.useRealTimers();
});

const tokenOf = (id: string, seconds: number, signer = privateKey): Promise<string> =>
  new SignJWT({ scope: 'a:b', agency: 'H41', principal: 'client' })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt' })
    .setSubject(id)
    .setIssuer(issuer)
    .setAudience(tokenAudience)
    .setIssuedAt(start / 1_000)
    .setJti(id)
    .setExpirationTime(start / 1_000 + seconds)
    .sign(signer);
const at = (seconds: number): void => void jest.setSystemTime(start + seconds * 1_000);

describe('a token that was found good', () => {
  test('is not verified again within ten seconds, and is after them', async () => {
    const authenticate = tokenAuthentication({ issuer, keys });
    const authorization = `Bearer ${await tokenOf('a', 600)}`;
    const first = await authenticate(authorization);
    at(9);
    expect(await authenticate(authorization)).toEqual(first);
    expect(asked).toBe(1);
    at(11);
    expect((await authenticate(authorization)).id).toBe('a');
    expect(asked).toBe(2);
    withdrawn = true;
    at(20);
    expect((await authenticate(authorization)).id).toBe('a');
    at(22);
    await expect(authenticate(authorization)).rejects.toMatchObject({ code: 'keys_unavailable' });
  });

  test('is remembered no longer than it is valid', async () => {
    const authenticate = tokenAuthentication({ issuer, keys });
    const authorization = `Bearer ${await tokenOf('b', 2)}`;
    await authenticate(authorization);
    at(8);
    await expect(authenticate(authorization)).rejects.toMatchObject({ code: 'token_expired' });
  });

  test('says nothing of another, and one that is refused is not remembered', async () => {
    const authenticate = tokenAuthentication({ issuer, keys });
    const good = await tokenOf('c', 600);
    await authenticate(`Bearer ${good}`);
    const forged = await tokenOf('c', 600, (await generateKeyPair('ES256')).privateKey);
    const altered = `${good.slice(0, good.lastIndexOf('.'))}.${forged.slice(forged.lastIndexOf('.') + 1)}`;
    for (const token of [forged, altered, forged, altered])
      await expect(authenticate(`Bearer ${token}`)).rejects.toMatchObject({ code: 'token_invalid' });
    expect(asked).toBe(5);
  });
});
