/**
 * A CSR for an enrolment that waits for one: its proof of possession is checked, its key is taken, its subject is not.
 * The certificate is in the answer; it is in LDAP a moment later, in a crowd some seconds.
 */
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import type { Scope } from '../certificates/certificate-store.ts';
import type { Issued } from '../certificates/issue-certificate.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { requireEnrolment } from './enrolment-store.ts';

export async function submitCsr(
  { database, csrs, issue }: Pick<EnrolmentDependencies, 'database' | 'csrs' | 'issue'>,
  enrolmentId: string,
  csrPem: string,
  scope: Scope,
  actor: SystemOrActor,
): Promise<Issued & { ignoredSubject: boolean }> {
  const csr = await csrs.read(csrPem).catch(async (fault: unknown) => {
    await requireEnrolment(database, enrolmentId, scope); // of an enrolment that is not theirs nobody learns more than that
    throw fault;
  });
  const { subjectPublicKeyInfo, keyKind, fingerprint } = csr;
  const issued = await issue({ enrolmentId, actor, csr: { subjectPublicKeyInfo, keyKind, fingerprint, scope } });
  return { ...issued, ignoredSubject: csr.ignoredSubject };
}
