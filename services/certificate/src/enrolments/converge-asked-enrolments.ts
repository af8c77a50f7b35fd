/**
 * Enrolments of an account that wait for nobody: keys that are to be made here are made (and escrowed where the profile asks, in the
 * transaction that records the key), and certificates are issued for keys that are there. Harmless to repeat.
 */
import { addJobs } from '@congvu/database';
import { unwrapPrivateKey, wrapPrivateKey } from '../authority/key-wrap.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import { findOfEnrolment } from '../certificates/certificate-store.ts';
import { escrowEnrolmentKey } from '../escrow/escrow-enrolment-key.ts';
import { listUnfinished, setServerKey } from './asked-enrolment-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { awaitKeyJob } from './convergence-job.ts';
import { type AccountSource, type EnrolmentRow, lockEnrolment, setEnrolmentState } from './enrolment-store.ts';

export async function convergeAskedEnrolments(
  dependencies: EnrolmentDependencies,
  source: AccountSource,
): Promise<void> {
  const { database } = dependencies;
  for (const enrolment of await listUnfinished(database, source.id)) {
    if (!enrolment.subject_public_key_info && !(await makeKey(dependencies, source, enrolment))) continue;
    await dependencies.issue({ enrolmentId: enrolment.id, actor: certificateSystem });
    // The holder has the key already and only fetches the certificate.
    if (enrolment.same_key && (await findOfEnrolment(database, enrolment.id)))
      await database.transaction((transaction) => setEnrolmentState(transaction, enrolment.id, 'issued'));
  }
}

/** False while no key is ready: the account waits its turn. */
async function makeKey(
  { database, authorities, wrappingKey, keys, serverKeyKind }: EnrolmentDependencies,
  source: AccountSource,
  { id, profile: profileId }: EnrolmentRow,
): Promise<boolean> {
  const profile = authorities.profile(profileId);
  const kind =
    [serverKeyKind, 'rsa-3072' as const].find((one) => profile.keyKinds.includes(one)) ?? profile.keyKinds[0]!;
  return database.transaction(async (transaction) => {
    const enrolment = await lockEnrolment(transaction, id);
    if (enrolment.subject_public_key_info || enrolment.state !== 'awaiting_pickup') return true;
    const key = await keys.take(transaction, kind);
    if (!key) {
      await addJobs(transaction, 'certificate', [awaitKeyJob(source.id)]);
      return false;
    }
    // Bound to an id of its own, which no enrolment will have.
    const privateKey = unwrapPrivateKey(key.wrappedPrivateKey, [wrappingKey], key.id);
    try {
      const wrappedPrivateKey = wrapPrivateKey(privateKey, wrappingKey, id);
      await setServerKey(transaction, id, { wrappedPrivateKey, subjectPublicKeyInfo: key.subjectPublicKeyInfo });
      if (profile.escrow) await escrowEnrolmentKey(transaction, source, id, privateKey);
    } finally {
      privateKey.fill(0);
    }
    return true;
  });
}
