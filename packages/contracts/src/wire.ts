/** What travels between services, programs and people, as schemas. */
export * from './wire/accounts.ts';
export * from './wire/agencies.ts';
export * from './wire/aliases.ts';
export * from './wire/audit.ts';
export * from './wire/certificates.ts';
export * from './wire/clients.ts';
export { AgencyCodeInput, CertificatePath, lineOfText, Timestamp } from './wire/common.ts';
export * from './wire/domains.ts';
export * from './wire/enrolments.ts';
export * from './wire/escrow.ts';
export * from './wire/groups.ts';
export * from './wire/mailboxes.ts';
export * from './wire/notices.ts';
export * from './wire/reconciliations.ts';
export * from './wire/requests.ts';
export * from './wire/service-accounts.ts';
export * from './wire/sheets.ts';
export * from './wire/usage.ts';
