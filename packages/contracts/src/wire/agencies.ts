/** Agencies on the wire. */
import { z } from 'zod';

export const Agency = z.object({
  code: z.string(),
  name: z.string(),
  level: z.enum(['province', 'department', 'district', 'commune', 'school', 'public_unit']),
  parentCode: z.string().nullable(),
  shortName: z.string(),
  mailDomain: z.string(),
  gsoCode: z.string().nullable(),
  validTo: z.string().nullable(),
});
export type Agency = z.infer<typeof Agency>;

export const AgencyImportReport = z.object({
  added: z.number().int(),
  changed: z.number().int(),
  unchanged: z.number().int(),
});
export type AgencyImportReport = z.infer<typeof AgencyImportReport>;
