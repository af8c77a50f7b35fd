/** Agencies on the wire. Dates are `YYYY-MM-DD`, in Việt Nam; `validTo` is the first day on which it holds no more. */
import { z } from 'zod';
import { AgencyCodeInput, lineOfText } from './common.ts';

const date = z.iso.date();

export const AgencyLevel = z.enum(['province', 'department', 'district', 'commune', 'school', 'public_unit']);
export const AgencyStatus = z.enum(['active', 'closed', 'future']);

export const Agency = z.object({
  code: z.string().describe('Form of Quyết định 20/2020/QĐ-TTg'),
  legacyCode: z.string().nullable().describe('Form of QCVN 102:2016, where that has room for the code'),
  name: z.string(),
  level: AgencyLevel,
  parentCode: z.string().nullable(),
  shortName: z.string().describe('What addresses are made of; once given it stays'),
  mailDomain: z.string(),
  gsoCode: z.string().nullable(),
  headCount: z.number().int().nullable(),
  validFrom: date.nullable().describe('Since when the agency exists; null is since before this record began'),
  validTo: date.nullable().describe('The first day on which it exists no more'),
  status: AgencyStatus,
  successorCode: z.string().nullable().describe('The agency that took over'),
  version: z.number().int(),
});
export type Agency = z.infer<typeof Agency>;

/** What held of an agency between two dates. */
export const AgencyPeriod = z.object({
  validFrom: date.nullable(),
  validTo: date.nullable(),
  name: z.string(),
  level: AgencyLevel,
  parentCode: z.string().nullable(),
  mailDomain: z.string(),
  headCount: z.number().int().nullable(),
});
export type AgencyPeriod = z.infer<typeof AgencyPeriod>;

export const AgencyHistory = z.object({
  code: z.string(),
  periods: z.array(AgencyPeriod).describe('In order; what is planned stands last'),
  predecessorCodes: z.array(z.string()).describe('The agencies that this one took over'),
  successorCodes: z.array(z.string()).describe('The agency that took over, the one that took over from it, and so on'),
});
export type AgencyHistory = z.infer<typeof AgencyHistory>;

export interface AgencyTree extends Pick<Agency, 'code' | 'name' | 'level' | 'shortName' | 'status' | 'successorCode'> {
  accounts: number;
  accountsInSubtree: number;
  agenciesInSubtree: number;
  children: AgencyTree[];
}
export const AgencyTree: z.ZodType<AgencyTree> = z.object({
  ...Agency.pick({ code: true, name: true, level: true, shortName: true, status: true, successorCode: true }).shape,
  accounts: z.number().int().describe('Of this agency itself, without retired ones'),
  accountsInSubtree: z.number().int().describe('Of this agency and all below it'),
  agenciesInSubtree: z.number().int().describe('All below it, also those deeper than was asked for'),
  children: z.array(z.custom<AgencyTree>()).describe('The same of each agency below, by code'),
});

/** `validFrom` says from when on the change holds: today unless told; null is from the beginning, and so corrects it. */
export const AgencyChange = z
  .strictObject({
    name: lineOfText(300),
    level: AgencyLevel,
    parentCode: AgencyCodeInput.nullable(),
    mailDomain: z
      .string()
      .max(253)
      .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/, 'The mail domain is not a domain name in lower case.'),
    headCount: z.number().int().min(0).max(1_000_000).nullable(),
    gsoCode: z
      .string()
      .regex(/^\d{1,10}$/, 'The statistics code holds digits alone.')
      .nullable(),
    validFrom: date.nullable(),
    validTo: date.nullable().describe('null opens a closed agency again'),
    successorCode: AgencyCodeInput.nullable(),
  })
  .partial();
export type AgencyChange = z.infer<typeof AgencyChange>;

/** One remark on a file, by row and cell as a spreadsheet names them. */
export const ImportFinding = z.object({
  row: z.number().int(),
  cell: z.string().describe('e.g. D14'),
  code: z.string(),
  detail: z.string(),
});
export type ImportFinding = z.infer<typeof ImportFinding>;

export const AgencyImportReport = z.object({
  dryRun: z.boolean(),
  added: z.number().int().describe('Agencies, however many rows tell of each'),
  changed: z.number().int(),
  unchanged: z.number().int(),
  refused: z.array(ImportFinding).describe('Every fault of every row that was left out'),
  corrections: z.array(ImportFinding).describe('What was read differently from how it was written'),
  warnings: z.array(ImportFinding).describe('What was taken, and is worth a look'),
});
export type AgencyImportReport = z.infer<typeof AgencyImportReport>;
