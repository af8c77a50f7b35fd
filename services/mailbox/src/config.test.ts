import { generateKeyPairSync } from 'node:crypto';
import { parseConfig } from '@congvu/http';
import { expect, test } from '@jest/globals';
import { configSchema } from './config.ts';

const keyOf = (modulusLength: number): string =>
  generateKeyPairSync('rsa', { modulusLength }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const environment = {
  PORT: '8080',
  DATABASE_URL: 'postgresql://x',
  LDAP_URL: 'ldap://x',
  LDAP_BASE_DN: 'dc=x',
  LDAP_BIND_DN: 'cn=x',
  LDAP_PASSWORD: 'x',
  ISSUER_URL: 'https://directory.test',
  DOVEADM_URL: 'http://x',
  DOVEADM_API_KEY: 'x'.repeat(16),
  MAIL_DOMAIN: 'nghean.gov.vn',
  NOTICE_HOST: 'x',
  NOTICE_PORT: '587',
  NOTICE_FROM: 'thongbao@nghean.gov.vn',
  POSTING_PORT: '10041',
  NOTICE_MESSAGE_KEY: 'x'.repeat(32),
  NOTICE_DKIM_KEY: keyOf(2048),
};

test('recipients of the digest: of the province, or of an agency by its code', () => {
  const list = ' cntt@nghean.gov.vn, H41.32=it.quynhluu@nghean.gov.vn ,';
  expect(parseConfig(configSchema, { ...environment, DIGEST_RECIPIENTS: list }).DIGEST_RECIPIENTS).toEqual([
    { agencyCode: undefined, address: 'cntt@nghean.gov.vn' },
    { agencyCode: 'H41.32', address: 'it.quynhluu@nghean.gov.vn' },
  ]);
  expect(parseConfig(configSchema, environment)).toMatchObject({ DIGEST_RECIPIENTS: [], NOTICE_LANGUAGE: 'vi' });
});

test('what cannot be right is told at once, and without a key in it', () => {
  const short = keyOf(1024);
  const faulty = {
    ...environment,
    NOTICE_DKIM_KEY: short,
    NOTICE_MESSAGE_KEY: 'guess me',
    NOTICE_DKIM_SELECTOR: 'a b',
    DIGEST_RECIPIENTS: 'cntt@nghean.gov.vn,H41.32',
    NOTICE_LANGUAGE: 'fr',
  };
  const message = (() => {
    try {
      return String(parseConfig(configSchema, faulty));
    } catch (error) {
      return (error as Error).message;
    }
  })();
  for (const part of [
    'NOTICE_DKIM_KEY: must be',
    'NOTICE_MESSAGE_KEY: ',
    'NOTICE_DKIM_SELECTOR: ',
    'DIGEST_RECIPIENTS.1',
    'NOTICE_LANGUAGE: ',
  ])
    expect(message).toContain(part);
  expect(message).not.toContain(short.slice(40, 80));
  expect(message).not.toContain('guess me');
});
