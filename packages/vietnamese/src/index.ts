/** What the code must know of Vietnamese: names, addresses, agency codes, numbers and dates as sheets hold them. Pure. */

export {
  type AgencyCodeResult,
  formatLegacyAgencyCode,
  maximumAgencyCodeLength,
  parseAgencyCode,
} from './agency-code.ts';
export {
  type AgencyLevel,
  agencyShortName,
  agencyShortNameCandidates,
  maximumShortNameLength,
  type ParentAgency,
} from './agency-short-name.ts';
export { type DateResult, dateFromSpreadsheetSerial, dayInVietnam, parseDate } from './date.ts';
export type { Finding, Refused } from './finding.ts';
export type { Sex } from './honorific.ts';
export { isLocalPart, isReservedLocalPart, maximumLocalPartOctets } from './local-part.ts';
export {
  maximumNameLength,
  type NameOptions,
  type NameResult,
  type ParsedName,
  parseFullName,
  splitFullName,
} from './name.ts';
export { type KnownOfPerson, maskNationalId, type NationalIdResult, parseNationalId } from './national-id.ts';
export { type MobileResult, parseMobile } from './phone.ts';
export { compareNames, type SortableName, searchKey, stripMarks } from './transliterate.ts';
export {
  defaultUsernamePatterns,
  parseUsernamePatterns,
  positionUsernameCandidates,
  type UsernamePatterns,
  type UsernamePatternsResult,
  usernameCandidates,
} from './username.ts';
