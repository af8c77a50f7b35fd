/** What the certificate service is told from outside; every fault is listed at once and the process does not start. */
import { serviceConfig } from '@congvu/http';
import { z } from 'zod';
import { keyKinds } from './authority/public-key.ts';

const pem = (label: string) => z.string().includes(`BEGIN ${label}`, { error: `must be PEM of type ${label}` });

export const configSchema = z.object({
  ...serviceConfig,
  /** How many processes answer HTTP, beside the one that does the jobs. */
  HTTP_PROCESSES: z.coerce.number().int().min(1).max(64).default(2),
  /** Where the keys that verify tokens are read; below ISSUER_URL unless told. */
  JWKS_URL: z.url().optional(),
  /** Where everybody reads CRLs and CA certificates; stands in every certificate, so it must never change. http: by RFC 5280. */
  PUBLIC_URL: z.url().startsWith('http://', 'must begin with http://'),
  /** The issuing authorities as the ceremony leaves them: per authority NAME.crt.pem, NAME.key.pem, NAME.json. */
  AUTHORITIES_DIRECTORY: z.string(),
  /** Opens those keys that have no NAME.passphrase beside them. */
  AUTHORITIES_PASSPHRASE: z.string().min(12).optional(),
  ROOT_CERTIFICATE: pem('CERTIFICATE'),
  /** The root's CRL, as the ceremony wrote it (DER in base64, or PEM). */
  ROOT_CRL: pem('X509 CRL'),
  /** Wraps server-made private keys until they are picked up. */
  KEY_WRAPPING_KEY: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be 32 octets in hexadecimal')
    .transform((hex) => Buffer.from(hex, 'hex')),
  KEY_WRAPPING_KEY_ID: z.string().default('1'),
  SERVER_KEY_KIND: z.enum(keyKinds).default('rsa-3072'),
  /** How many server-made RSA keys are kept ready. */
  KEY_POOL_SIZE: z.coerce.number().int().min(1).max(100_000).default(32),
  /** CA/B S/MIME BR 7.1.4.2.2 d: GOVVN+ and the ISO 3166-2 number of the province (Nghệ An is VN-22). */
  ORGANIZATION_IDENTIFIER: z.string().regex(/^GOVVN(\+[0-9A-Z]{1,3})?$/),
  /** Authorities of the Government's CA (PEM, one or more): certificates that come back are followed to a root among them. */
  EXTERNAL_CA_CERTIFICATES: pem('CERTIFICATE').optional(),
  CRL_HOURS: z.coerce.number().int().min(1).max(240).default(48),
  /** How long an OCSP answer holds: 8 hours to 10 days (CA/B S/MIME BR 4.9.10). */
  OCSP_HOURS: z.coerce.number().int().min(8).max(240).default(12),
  /** For how many certificates OCSP answers are kept ready, at about 120 bytes of memory each, in each process that answers HTTP. */
  OCSP_PREPARED: z.coerce.number().int().min(1_000).max(10_000_000).default(1_000_000),
  /** How long a delta CRL lives; a new list is made when half of that has passed. */
  DELTA_CRL_HOURS: z.coerce.number().int().min(1).max(240).default(6),
});
export type Config = z.infer<typeof configSchema>;
