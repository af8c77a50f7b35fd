/** What the mailbox service is told from outside; every fault is listed at once and the process does not start. */
import { DomainName } from '@congvu/contracts';
import { serviceConfig } from '@congvu/http';
import { z } from 'zod';

export const configSchema = z.object({
  ...serviceConfig,
  /** Where the keys that verify tokens are read; below ISSUER_URL unless told. */
  JWKS_URL: z.url().optional(),
  /** The doveadm HTTP API, e.g. http://127.0.0.1:8080 */
  DOVEADM_URL: z.url(),
  DOVEADM_API_KEY: z.string().min(16),
  /** Default size of a mailbox in octets. */
  MAIL_QUOTA_BYTES: z.coerce
    .number()
    .int()
    .positive()
    .default(2 * 1024 ** 3),
  MAIL_DOMAIN: z.string().min(3).toLowerCase(),
  /** How long an address that an account has no more still leads to its mailbox. */
  ALIAS_DAYS: z.coerce.number().int().min(1).max(36_500).default(365),
  /** Of others, with commas: where mail may be forwarded to besides the province's own. */
  FORWARD_DOMAINS: z
    .string()
    .default('')
    .transform((text) =>
      text
        .toLowerCase()
        .split(',')
        .map((name) => name.trim())
        .filter(Boolean),
    )
    .pipe(z.array(DomainName)),
  /** Where notices are handed in: submission with STARTTLS and log-in, or LMTP where there is no Postfix. */
  NOTICE_TRANSPORT: z.enum(['submission', 'lmtp']).default('submission'),
  NOTICE_HOST: z.string().min(1),
  NOTICE_PORT: z.coerce.number().int().min(1).max(65_535),
  NOTICE_FROM: z.email(),
  NOTICE_PASSWORD: z.string().default(''),
  /** PEM of the certificate authority that the submission server's certificate chains to; the system's unless told. */
  NOTICE_TLS_CA: z.string().optional(),
});
export type Config = z.infer<typeof configSchema>;
