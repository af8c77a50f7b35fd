/** What all parts of the wire share. Times are RFC 3339 in UTC; units stand in the names. */
import { z } from 'zod';

export const Timestamp = z.iso.datetime();
export const Uuid = z.uuid();
/** Both official forms are taken; the answer always has the first (Quyết định 20/2020/QĐ-TTg). */
export const AgencyCodeInput = z.string().min(3).max(40).describe('H41.12.05, or the older form 000.05.12.H41');

/** One line of text that people read: no line breaks, no control characters, nothing invisible that turns text around. */
export const lineOfText = (maximum: number, minimum = 1) =>
  z
    .string()
    .trim()
    .min(minimum, minimum === 1 ? 'This must not be empty.' : `This must have ${minimum} characters or more.`)
    .max(maximum)
    .refine((text) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text), {
      error: 'This holds a line break, or a control or invisible character; take it out.',
      params: { code: 'character' },
    });

/** How the certificate of an account comes about: a key made here, a CSR from the holder's token, or none. */
export const CertificatePath = z.enum(['server_key', 'csr', 'none']);
export type CertificatePath = z.infer<typeof CertificatePath>;

export const PartState = z.enum(['waiting', 'done']);

/** Who asked, who approved, when: what an auditor sees beside every credential. */
export const Provenance = {
  requestId: Uuid.nullable(),
  submittedBy: z.string().nullable(),
  submittedAt: Timestamp.nullable(),
  approvedBy: z.string().nullable(),
  approvedAt: Timestamp.nullable(),
  decisionNumber: z.string().nullable(),
};
