/**
 * Renews a certificate by opening an enrolment that takes the place of its own: with a new key that comes as the old one came, or, where
 * the profile allows it, with the same key. Everything that the profile asks of a first certificate it asks again, as it stands today:
 * kind of account, path, kind and strength of the key, validity, second person. The old certificate stays valid until its end.
 */
import { createHash, randomUUID } from 'node:crypto';
import { addJobs, type Transaction } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import type { Profile } from '../authority/profile.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { requireStrongKey } from '../authority/weak-key.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { requireCertificate, type Scope } from '../certificates/certificate-store.ts';
import { fingerprintOfKey, listCompromised } from '../compromised-keys/compromised-key-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { convergenceJob } from './convergence-job.ts';
import { insertEnrolment, lockEnrolment, requireAccount, setEnrolmentState } from './enrolment-store.ts';
import { faultsOf, onceByKey, requireActive, requireOfficersFor } from './open-enrolment.ts';

export async function renewCertificate(
  { database, authorities }: EnrolmentDependencies,
  serialNumber: Buffer,
  { newKey }: { newKey: boolean },
  scope: Scope,
  actor: SystemOrActor,
  idempotencyKey: string | undefined,
): Promise<string> {
  const { wire } = await requireCertificate(database, serialNumber, scope);
  const { profile } = authorities.issuing(wire.profile);
  const bodyHash = createHash('sha256')
    .update(JSON.stringify([wire.serialNumber, newKey]))
    .digest();
  return database.transaction((transaction) =>
    onceByKey(transaction, actor, idempotencyKey, bodyHash, async (key) => {
      // 1. Is it due, and the account's to have?
      if (!wire.enrolmentId) throw new Error('what was issued here has its enrolment');
      const old = await lockEnrolment(transaction, wire.enrolmentId);
      const source = await requireAccount(transaction, wire.accountId, scope);
      if (wire.state !== 'valid')
        throw conflict('certificate_state', `The certificate is ${wire.state}; only a valid one is renewed.`);
      if (old.state === 'renewed')
        throw conflict('certificate_renewed', 'The certificate is being renewed, or was, already.');
      if (old.state !== 'issued')
        throw conflict(
          'enrolment_state',
          `The enrolment of the certificate is ${old.state}; its key is to be picked up first.`,
        );
      requireActive(source);
      requireDue(profile, new Date(wire.notAfter));
      await requireOfficersFor(transaction, profile, old.path);

      // 2. The profile's rules, as they are today.
      const asked = { profile: profile.id, path: old.path, dnsNames: old.dns_names };
      const faults = faultsOf(profile, source, asked);
      const subjectPublicKeyInfo = newKey ? null : old.subject_public_key_info;
      if (subjectPublicKeyInfo) faults.push(...(await faultsOfKey(transaction, profile, subjectPublicKeyInfo)));
      if (faults.length > 0) throw invalid('renewal_invalid', faults);

      // 3. The new enrolment in the place of the old.
      await setEnrolmentState(transaction, old.id, 'renewed');
      const id = randomUUID();
      const inserted = await insertEnrolment(transaction, {
        id,
        accountId: source.id,
        number: old.number,
        credentialEpoch: source.credentialEpoch,
        ...asked,
        subjectPublicKeyInfo,
        awaitsApproval: profile.fourEyes,
        askedBy: actor,
        renews: old.id,
        sameKey: !newKey,
        ...key,
      });
      if (!inserted) throw new Error('an enrolment was open beside the one that is renewed');
      const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
      const after = { enrolmentId: id, serialNumber: wire.serialNumber, newKey, profile: profile.id };
      await recordCertificateEvent(transaction, actor, 'enrolment.renewal_asked', subject, null, after);
      if (!profile.fourEyes) await addJobs(transaction, 'certificate', [convergenceJob(source.id)]);
      return id;
    }),
  );
}

function requireDue({ renewal }: Profile, notAfter: Date): void {
  const dueFrom = new Date(notAfter.getTime() - renewal.daysBefore * 86_400_000);
  if (dueFrom <= new Date()) return;
  const day = dueFrom.toISOString().slice(0, 10);
  throw conflict(
    'renewal_too_early',
    `The certificate can be renewed from ${day} on, ${renewal.daysBefore} days before it ends.`,
  );
}

/** A key that is kept is judged anew: what was good enough then may not be now. */
async function faultsOfKey(transaction: Transaction, profile: Profile, subjectPublicKeyInfo: Buffer): Promise<Fault[]> {
  const faults: Fault[] = [];
  const fault = (code: string, detail: string) =>
    faults.push({ pointer: '/newKey', code, detail: `${detail} Ask for a new key.` });
  if (!profile.renewal.sameKey)
    fault('same_key_not_allowed', `Certificates of profile ${profile.id} are renewed with a new key alone.`);
  try {
    const kind = keyKindOf(subjectPublicKeyInfo);
    if (!profile.keyKinds.includes(kind))
      fault('key_kind', `The profile ${profile.id} takes no ${kind} keys any more.`);
    requireStrongKey(subjectPublicKeyInfo);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    fault(error.code, error.detail);
  }
  const known = await listCompromised(transaction, [fingerprintOfKey(subjectPublicKeyInfo)]);
  if (known.size > 0) fault('key_compromised', 'The key is known to others.');
  return faults;
}

const conflict = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });
