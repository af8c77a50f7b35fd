/** What the mailbox service is told from outside; every fault is listed at once and the process does not start. */
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
  MAIL_DOMAIN: z.string().min(3),
  /** Where Postfix asks who may write to a list. */
  POSTING_HOST: z.string().default('127.0.0.1'),
  POSTING_PORT: z.coerce.number().int().min(1).max(65_535),
  /** The largest message to a list, in octets, for lists other than those that anyone may write to. */
  LIST_MESSAGE_BYTES: z.coerce
    .number()
    .int()
    .positive()
    .default(5 * 1024 ** 2),
  /** What stands before the @ of the list of an agency, and of the whole province's. */
  AGENCY_LIST_NAME: z
    .string()
    .regex(/^[a-z0-9.-]*\{shortName\}[a-z0-9.-]*$/)
    .default('tatca.{shortName}'),
  PROVINCE_LIST_NAME: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/)
    .default('tatca'),
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
