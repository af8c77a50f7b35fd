/** What the mailbox service is told from outside; every fault is listed at once and the process does not start. */
import { DomainName, NoticeLanguage } from '@congvu/contracts';
import { serviceConfig } from '@congvu/http';
import { z } from 'zod';
import { isSigningKey } from './notices/signing-key.ts';

/** Addresses, each with an agency's code and `=` before it or of the whole province, with commas between them. */
const digestRecipients = z
  .string()
  .default('')
  .transform((list) =>
    list
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== '')
      .map((one) => {
        const [, agencyCode, address = ''] = /^(?:([A-Y][0-9A-Z.]+)=)?(.*)$/.exec(one) ?? [];
        return { agencyCode, address };
      }),
  )
  .pipe(z.array(z.object({ agencyCode: z.union([z.string(), z.undefined()]), address: z.email() })));

export const configSchema = z.object({
  ...serviceConfig,
  /** Where the keys that verify tokens are read; below ISSUER_URL unless told. */
  JWKS_URL: z.url().optional(),
  /** The doveadm HTTP API, e.g. http://127.0.0.1:8080 */
  DOVEADM_URL: z.url(),
  DOVEADM_API_KEY: z.string().min(16),
  /** Log files of Postfix and Dovecot, from which use is counted; without one nothing of it is. */
  POSTFIX_LOG: z.string().startsWith('/').optional(),
  DOVECOT_LOG: z.string().startsWith('/').optional(),
  /** How long the counts of single days are kept. */
  USAGE_DAYS: z.coerce.number().int().min(60).default(800),
  /** host:port where Postfix takes mail from outside; asked for its greeting by /readyz. */
  POSTFIX_ADDRESS: z
    .string()
    .regex(/^[^:\s]+:\d{1,5}$/)
    .optional(),
  /** Default size of a mailbox in octets. */
  MAIL_QUOTA_BYTES: z.coerce
    .number()
    .int()
    .positive()
    .default(2 * 1024 ** 3),
  /** What becomes of mail for a suspended mailbox, unless told for the one. */
  SUSPENDED_MAIL: z.enum(['accept', 'refuse']).default('accept'),
  /** How long the store of a closed shared or service mailbox is kept; those of accounts as the directory says. */
  RETENTION_DAYS: z.coerce.number().int().min(1).max(3_650).default(90),
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
  /** In which notices are written to those for whom no language was chosen. */
  NOTICE_LANGUAGE: NoticeLanguage.default('vi'),
  /** Makes the Message-IDs of notices. With another key a notice whose sending was interrupted may come twice. */
  NOTICE_MESSAGE_KEY: z.string().min(32),
  /** PEM of the key that signs notices (DKIM); `GET /v1/notices/dkim` says what to publish of it. */
  NOTICE_DKIM_KEY: z.string().refine(isSigningKey, 'must be the PEM of an RSA private key of 2048 bits or more'),
  NOTICE_DKIM_SELECTOR: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be one label of a DNS name')
    .default('congvu'),
  /** Holds vi/ and en/ with templates instead of the built-in ones of the same name (services/mailbox/templates). */
  TEMPLATES_DIRECTORY: z.string().optional(),
  /** Who gets the weekly digest, e.g. `cntt@nghean.gov.vn,H41.32=it.quynhluu@nghean.gov.vn` */
  DIGEST_RECIPIENTS: digestRecipients,
  /** So many days before an end its agency is told. */
  EXPIRY_NOTICE_DAYS: z.coerce.number().int().min(1).max(90).default(7),
});
export type Config = z.infer<typeof configSchema>;
