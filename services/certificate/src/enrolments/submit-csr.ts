/**
 * A CSR for an enrolment that waits for one: its proof of possession is checked, its key is taken, its subject is not.
 * The certificate is in the answer.
 */
import { addJobs, brokenConstraint, type Transaction } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { parseCsr } from '../authority/csr.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { findOfEnrolment, isRevokedForGood, type Scope } from '../certificates/certificate-store.ts';
import { issueCertificate } from '../certificates/issue-certificate.ts';
import { fingerprintOfKey, listCompromised } from '../compromised-keys/compromised-key-store.ts';
import { type EnrolmentDependencies, publishCertificates } from './converge-certificates.ts';
import { findAccount, lockEnrolment, requireEnrolment, setEnrolmentKey } from './enrolment-store.ts';

export async function submitCsr(
  dependencies: EnrolmentDependencies,
  enrolmentId: string,
  csrPem: string,
  scope: Scope,
  actor: SystemOrActor,
): Promise<{ serialNumber: string; ignoredSubject: boolean }> {
  const { database, authorities } = dependencies;
  // 1. By right, and for an active account.
  const enrolment = await requireEnrolment(database, enrolmentId, scope);
  const source = await findAccount(database, enrolment.accountId);
  if (source?.state !== 'active') {
    throw new ServiceError({ kind: 'conflict', code: 'account_state', detail: 'The account is not active.' });
  }

  // 2. The key, proven.
  const csr = await parseCsr(csrPem);
  const profile = authorities.profile(enrolment.profile);
  if (!profile.keyKinds.includes(csr.keyKind)) {
    const detail = `The profile ${profile.id} takes keys of ${profile.keyKinds.join(', ')}.`;
    throw invalid('csr_key_kind', [{ pointer: '/csr', code: 'csr_key_kind', detail }]);
  }
  await database
    .transaction((transaction) => takeKey(transaction, enrolmentId, csr.subjectPublicKeyInfo, source, actor))
    .catch(refuseReusedKey);

  // 3. The certificate, and at once into LDAP; should we fail or be killed, the job that was queued with the key does it.
  await issueCertificate(dependencies, source, enrolmentId, actor);
  if (source.entryVersion > 0) await publishCertificates(dependencies, source).catch(() => undefined);
  const { serialNumber } = await requireEnrolment(database, enrolmentId, scope);
  if (!serialNumber) throw new Error('an enrolment that was just issued has no serial number');
  return { serialNumber, ignoredSubject: csr.subject.length > 0 || csr.asksForExtensions };
}

async function takeKey(
  transaction: Transaction,
  enrolmentId: string,
  subjectPublicKeyInfo: Buffer,
  source: { id: string; agencyId: string; requestId: string | null },
  actor: SystemOrActor,
): Promise<void> {
  const enrolment = await lockEnrolment(transaction, enrolmentId);
  const same = enrolment.subject_public_key_info?.equals(subjectPublicKeyInfo);
  if (same && enrolment.path === 'csr') {
    const certificate = await findOfEnrolment(transaction, enrolmentId);
    if (certificate && isRevokedForGood(certificate)) {
      throw new ServiceError({
        kind: 'conflict',
        code: 'certificate_revoked',
        detail: 'The certificate for this key was revoked; the key gets no other.',
      });
    }
    return; // the same CSR again gets the same certificate
  }
  if (enrolment.state !== 'awaiting_csr' || enrolment.subject_public_key_info) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'enrolment_state',
      detail: `The enrolment is ${enrolment.state} and takes no CSR.`,
    });
  }
  const compromised = await listCompromised(transaction, [fingerprintOfKey(subjectPublicKeyInfo)]);
  if (compromised.size > 0)
    throw refusedKey('csr_key_compromised', 'This key is known to others; make a new key pair.');
  await setEnrolmentKey(transaction, enrolmentId, subjectPublicKeyInfo);
  const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
  await recordCertificateEvent(transaction, actor, 'enrolment.csr_accepted', subject, null, { enrolmentId });
  await addJobs(transaction, 'certificate', [
    { task: 'converge-certificates', payload: { accountIds: [source.id] }, key: `certificates:${source.id}` },
  ]);
}

function refuseReusedKey(error: unknown): never {
  if (brokenConstraint(error) !== 'enrolments_key_unique') throw error;
  throw refusedKey(
    'csr_key_reused',
    'This key has or had a certificate, or is enrolled, already; make a new key pair.',
  );
}

const refusedKey = (code: string, detail: string): ServiceError => invalid(code, [{ pointer: '/csr', code, detail }]);
