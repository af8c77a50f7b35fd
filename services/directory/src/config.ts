/** What the directory service is told from outside; every fault is listed at once and the process does not start. */
import { serviceConfig } from '@congvu/http';
import { defaultUsernamePatterns, parseUsernamePatterns } from '@congvu/vietnamese';
import { z } from 'zod';

const key32 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be 32 octets in hexadecimal')
  .transform((hex) => Buffer.from(hex, 'hex'));

export const configSchema = z.object({
  ...serviceConfig,
  /** PKCS#8 PEM of a P-256 key. */
  TOKEN_SIGNING_KEY: z.string().includes('BEGIN PRIVATE KEY', { error: 'must be a PKCS#8 PEM' }),
  /** Encrypts national identity numbers at rest. */
  PERSONAL_DATA_KEY: key32,
  /** Finds equal national identity numbers without decrypting them. */
  PERSONAL_DATA_INDEX_KEY: key32,
  /** When the whole record is compared with all of LDAP (UTC); in Vietnam this is 01:15. */
  RECONCILE_CRON: z
    .string()
    .regex(/^(\S+ ){4}\S+$/, 'must be five fields: minute hour day month weekday')
    .default('15 18 * * *'),
  /** What the scheduled comparison does: `repair` puts small drift right and waits with large. */
  RECONCILE_MODE: z.enum(['off', 'report', 'repair']).default('repair'),
  /** A repair of more than this share of an agency's entries, or of all, and of at least so many, waits for a second person. */
  RECONCILE_LARGE_PERCENT: z.coerce.number().min(0).max(100).default(5),
  RECONCILE_LARGE_COUNT: z.coerce.number().int().min(1).default(10),
  ACTIVATION_CODE_DAYS: z.coerce.number().int().min(1).max(90).default(14),
  /** Where holders redeem activation codes, as it stands on the slips; this service's own address unless told. */
  ACTIVATION_URL: z.url().max(120).optional(),
  /** How long the mailbox of a retired account is kept, and the account can be reactivated. */
  RETENTION_DAYS: z.coerce.number().int().min(1).max(3_650).default(90),
  /** How people are called, in order of preference; {given} {surname} {middle} {initials} {agency} {number}. */
  USERNAME_PATTERNS: z
    .string()
    .default(defaultUsernamePatterns)
    .transform((text, context) => {
      const result = parseUsernamePatterns(text);
      if (result.ok) return result.patterns;
      for (const { detail } of result.faults) context.addIssue({ code: 'custom', message: detail });
      return z.NEVER;
    }),
  /** Working days within which a request should be decided on, and a returned one corrected. */
  DECISION_DAYS: z.coerce.number().int().min(1).max(60).default(3),
  CORRECTION_DAYS: z.coerce.number().int().min(1).max(60).default(10),
});
export type Config = z.infer<typeof configSchema>;
