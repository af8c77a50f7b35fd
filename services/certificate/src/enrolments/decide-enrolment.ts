/**
 * The second person's word on an enrolment that needs one: approved it goes on by itself, rejected it is closed. Nobody decides on
 * what they asked for, nor on what a client asked for whose secret they were shown.
 */
import { addJobs } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import type { Scope } from '../certificates/certificate-store.ts';
import { isOneHand } from '../escrow/officer-store.ts';
import { setDecided } from './asked-enrolment-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { convergenceJob } from './convergence-job.ts';
import { findAccount, lockEnrolment, requireEnrolment, setEnrolmentState } from './enrolment-store.ts';
import { requireActive } from './open-enrolment.ts';

export async function decideEnrolment(
  { database }: Pick<EnrolmentDependencies, 'database'>,
  id: string,
  decision: { approved: boolean; remark: string | null },
  scope: Scope,
  actor: SystemOrActor,
): Promise<void> {
  await requireEnrolment(database, id, scope);
  await database.transaction(async (transaction) => {
    const enrolment = await lockEnrolment(transaction, id);
    if (enrolment.state !== 'awaiting_approval')
      throw new ServiceError({
        kind: 'conflict',
        code: 'enrolment_state',
        detail: `The enrolment is ${enrolment.state}; only one that awaits approval is decided on.`,
      });
    if (enrolment.asked_by && (await isOneHand(transaction, actor.id, enrolment.asked_by)))
      throw new ServiceError({
        kind: 'forbidden',
        code: 'own_enrolment',
        detail: 'An enrolment is decided on by another client than the one that asked, and neither made by the other.',
      });
    const source = await findAccount(transaction, enrolment.account_id);
    if (!source) throw new Error('an enrolment without an account');
    if (decision.approved) requireActive(source);
    const ready = enrolment.path === 'csr' ? 'awaiting_csr' : 'awaiting_pickup';
    const state = decision.approved ? ready : 'rejected';
    await setDecided(transaction, id, { state, by: actor.id, remark: decision.remark });
    // What was to be renewed is what the account has, and may be renewed still.
    if (!decision.approved && enrolment.renews) await setEnrolmentState(transaction, enrolment.renews, 'issued');
    const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
    const action = decision.approved ? 'enrolment.approved' : 'enrolment.rejected';
    const after = { enrolmentId: id, profile: enrolment.profile, remark: decision.remark };
    await recordCertificateEvent(transaction, actor, action, subject, { state: enrolment.state }, after);
    if (decision.approved) await addJobs(transaction, 'certificate', [convergenceJob(source.id)]);
  });
}

/** Takes back what was asked for, as long as there is no key: it awaits its approval, or its CSR. What the directory orders stays. */
export async function withdrawEnrolment(
  { database }: Pick<EnrolmentDependencies, 'database'>,
  id: string,
  scope: Scope,
  actor: SystemOrActor,
): Promise<void> {
  await requireEnrolment(database, id, scope);
  await database.transaction(async (transaction) => {
    const enrolment = await lockEnrolment(transaction, id);
    const waits = enrolment.state === 'awaiting_csr' && !enrolment.subject_public_key_info;
    if (!enrolment.asked_by || (enrolment.state !== 'awaiting_approval' && !waits))
      throw new ServiceError({
        kind: 'conflict',
        code: 'enrolment_state',
        detail: enrolment.asked_by
          ? `The enrolment is ${enrolment.state}; it is too late to take it back, revoke its certificate.`
          : 'The enrolment was ordered by a request to the directory service and is withdrawn by one.',
      });
    const source = await findAccount(transaction, enrolment.account_id);
    if (!source) throw new Error('an enrolment without an account');
    await setEnrolmentState(transaction, id, 'rejected');
    if (enrolment.renews) await setEnrolmentState(transaction, enrolment.renews, 'issued');
    const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
    const after = { enrolmentId: id, profile: enrolment.profile };
    await recordCertificateEvent(transaction, actor, 'enrolment.withdrawn', subject, { state: enrolment.state }, after);
  });
}
