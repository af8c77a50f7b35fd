/**
 * Issues the certificate of one enrolment. The order is what counts: serial number and everything that will be signed
 * are committed first, then signed, then the certificate is stored. Killed at any line, a retry signs the very same
 * octets again, so no certificate can exist that the record does not know and none is made twice.
 */
import { addJobs, type Database, type Transaction } from '@congvu/database';
import type { AuthorityContext } from '../authorities/authority-context.ts';
import { fingerprintOf } from '../authority/certificate.ts';
import { buildTbsCertificate, newSerialNumber, signTbs, validityPeriod } from '../authority/issuer.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import {
  type AccountSource,
  type EnrolmentRow,
  lockEnrolment,
  setEnrolmentState,
} from '../enrolments/enrolment-store.ts';
import { recordCertificateEvent, type SystemOrActor } from './certificate-event.ts';
import { type CertificateRow, findOfEnrolment, insertIntent, setSigned } from './certificate-store.ts';

export interface IssueDependencies {
  database: Database;
  authority: AuthorityContext;
  organizationIdentifier: string;
}

/** Makes the certificate of the enrolment unless it was made, or revoked, before. The enrolment must have its key. */
export async function issueCertificate(
  dependencies: IssueDependencies,
  source: AccountSource,
  enrolmentId: string,
  actor: SystemOrActor,
): Promise<void> {
  const { database, authority } = dependencies;
  // 1. Intent.
  const intent = await database.transaction(async (transaction) => {
    const enrolment = await lockEnrolment(transaction, enrolmentId);
    return (
      (await findOfEnrolment(transaction, enrolmentId)) ??
      (await commitIntent(transaction, dependencies, source, enrolment, actor))
    );
  });
  if (intent.state !== 'signing') return;

  // 2. Signature, off the event loop.
  const certificate = await signTbs(authority.issuer, intent.tbs);

  // 3. The register.
  await database.transaction(async (transaction) => {
    const enrolment = await lockEnrolment(transaction, enrolmentId);
    const fingerprint = Buffer.from(fingerprintOf(certificate), 'hex');
    if (!(await setSigned(transaction, intent.id, certificate, fingerprint))) return;
    if (enrolment.path === 'csr') {
      await setEnrolmentState(transaction, enrolmentId, 'issued');
      // The account may have been suspended while we signed: whatever it is now, the certificate follows it.
      await addJobs(transaction, 'certificate', [convergenceJob(source.id)]);
    }
    await recordCertificateEvent(transaction, actor, 'certificate.issued', intent, null, {
      serialNumber: intent.serial_number.toString('hex'),
      profile: enrolment.profile,
      fingerprintSha256: fingerprint.toString('hex'),
    });
  });
}

async function commitIntent(
  transaction: Transaction,
  { authority, organizationIdentifier }: IssueDependencies,
  source: AccountSource,
  enrolment: EnrolmentRow,
  actor: SystemOrActor,
): Promise<CertificateRow> {
  const subjectPublicKeyInfo = enrolment.subject_public_key_info;
  if (!subjectPublicKeyInfo) throw new Error('an enrolment without a key cannot be issued');
  const { issuer, profile } = authority;
  const serialNumber = newSerialNumber();
  const period = validityPeriod(issuer, profile, new Date());
  const tbs = buildTbsCertificate(issuer, profile, {
    serialNumber,
    subject: subjectOf(source, organizationIdentifier),
    subjectAltName: [{ kind: 'rfc822Name', value: source.address }],
    subjectPublicKeyInfo,
    ...period,
  });
  const row = await insertIntent(transaction, {
    authorityId: authority.id,
    serialNumber,
    enrolmentId: enrolment.id,
    accountId: source.id,
    agencyId: source.agencyId,
    requestId: source.requestId,
    address: source.address,
    profile: profile.id,
    keyKind: keyKindOf(subjectPublicKeyInfo),
    tbs,
    ...period,
  });
  await recordCertificateEvent(transaction, actor, 'certificate.intended', row, null, {
    serialNumber: serialNumber.toString('hex'),
  });
  return row;
}

/** From the directory alone; what a CSR says of its subject is never used. */
function subjectOf(source: AccountSource, organizationIdentifier: string) {
  return {
    countryName: 'VN',
    organizationName: fit(source.agencyName),
    organizationIdentifier,
    serialNumber: source.username.slice(0, 64),
    // A person with a single name carries it as surname (CA/B S/MIME BR 7.1.4.2.2 e).
    surname: fit(source.surname || source.givenName),
    ...(source.surname && source.givenName ? { givenName: fit(source.givenName) } : {}),
    commonName: fit(source.displayName),
  };
}

/** At most 64 characters (RFC 5280 appendix A, ub-organization-name and others), cut between words. */
function fit(text: string): string {
  if ([...text].length <= 64) return text;
  const words = [...text].slice(0, 65).join('');
  return words.includes(' ') ? words.slice(0, words.lastIndexOf(' ')).trim() : [...text].slice(0, 64).join('');
}
