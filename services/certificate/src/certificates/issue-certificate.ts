/**
 * Issues the certificate of one enrolment. The order is what counts: serial number and everything that will be signed
 * are committed first, then signed, then the certificate is stored. Killed at any line, a retry signs the very same
 * octets again, so no certificate can exist that the record does not know and none is made twice.
 */

import { randomInt } from 'node:crypto';
import { addJobs, type Database, type Transaction } from '@congvu/database';
import type { Authorities } from '../authorities/authorities.ts';
import { fingerprintOf } from '../authority/certificate.ts';
import { buildTbsCertificate, newSerialNumber, signTbs, validityPeriod } from '../authority/issuer.ts';
import type { Profile, SubjectFact } from '../authority/profile.ts';
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
  authorities: Authorities;
  organizationIdentifier: string;
}

/** Makes the certificate of the enrolment unless it was made, or revoked, before. The enrolment must have its key. */
export async function issueCertificate(
  dependencies: IssueDependencies,
  source: AccountSource,
  enrolmentId: string,
  actor: SystemOrActor,
): Promise<void> {
  const { database, authorities } = dependencies;
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
  const certificate = await signTbs(authorities.byId(intent.authority_id).issuer, intent.tbs);

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
  { authorities, organizationIdentifier }: IssueDependencies,
  source: AccountSource,
  enrolment: EnrolmentRow,
  actor: SystemOrActor,
): Promise<CertificateRow> {
  const subjectPublicKeyInfo = enrolment.subject_public_key_info;
  if (!subjectPublicKeyInfo) throw new Error('an enrolment without a key cannot be issued');
  const { authority, profile } = authorities.issuing(enrolment.profile);
  const { issuer, crlPartitions } = authority;
  const serialNumber = newSerialNumber();
  const period = validityPeriod(issuer, profile, new Date());
  const crlPartition = randomInt(crlPartitions);
  const tbs = buildTbsCertificate(issuer, profile, authority.locations(crlPartition), {
    serialNumber,
    subject: subjectOf(profile, factsOf(source, organizationIdentifier)),
    subjectAltName: [{ kind: 'rfc822Name', value: source.address }],
    subjectPublicKeyInfo,
    ...period,
  });
  const row = await insertIntent(transaction, {
    authorityId: authority.id,
    crlPartition,
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

/** What is known of the subject, from the directory alone; what a CSR says of it is never used. */
function factsOf(source: AccountSource, organizationIdentifier: string): Partial<Record<SubjectFact, string>> {
  const { surname, givenName } = source;
  return {
    country: 'VN',
    agencyName: fit(source.agencyName),
    organizationIdentifier,
    username: source.username.slice(0, 64),
    address: source.address,
    displayName: fit(source.displayName),
    // A person with a single name carries it as surname (CA/B S/MIME BR 7.1.4.2.2 e).
    surname: fit(surname || givenName),
    ...(surname && givenName ? { givenName: fit(givenName) } : {}),
    fullName: fit(source.fullName),
    ...(source.title ? { title: fit(source.title) } : {}),
  };
}

/** The attributes that the profile lists, as far as they are known. */
const subjectOf = (profile: Profile, facts: Partial<Record<SubjectFact, string>>) =>
  Object.fromEntries(
    profile.subject.flatMap(({ attribute, from }) => {
      const value = facts[from];
      return value === undefined ? [] : [[attribute, value]];
    }),
  );

/** At most 64 characters (RFC 5280 appendix A, ub-organization-name and others), cut between words. */
function fit(text: string): string {
  if ([...text].length <= 64) return text;
  const words = [...text].slice(0, 65).join('');
  return words.includes(' ') ? words.slice(0, words.lastIndexOf(' ')).trim() : [...text].slice(0, 64).join('');
}
