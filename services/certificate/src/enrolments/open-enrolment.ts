/**
 * Opens an enrolment that is asked for here: for an account that the asker may see, of a profile that such an account may have and that
 * the directory does not order, with everything that is wrong said at once. Where the profile asks for a second person it waits for
 * one; else what can be done without the holder is done by the job that is queued with it. The same Idempotency-Key opens one.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { EnrolmentInput } from '@congvu/contracts';
import { addJobs, type Transaction } from '@congvu/database';
import { type Fault, invalid, keyReused, ServiceError } from '@congvu/errors';
import type { Profile } from '../authority/profile.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import type { Scope } from '../certificates/certificate-store.ts';
import { listOfficersOnDuty } from '../escrow/officer-store.ts';
import { closeEnded, findByIdempotencyKey, lockIdempotencyKey } from './asked-enrolment-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { convergenceJob } from './convergence-job.ts';
import { type AccountSource, findOpenEnrolment, insertEnrolment, requireAccount } from './enrolment-store.ts';
import { orderedProfile } from './ordered-profile.ts';

export type Asked = Omit<EnrolmentInput, 'accountId'>;

export async function openEnrolment(
  dependencies: EnrolmentDependencies,
  { accountId, ...asked }: EnrolmentInput,
  scope: Scope,
  actor: SystemOrActor,
  idempotencyKey: string | undefined,
): Promise<string> {
  const bodyHash = createHash('sha256')
    .update(JSON.stringify([accountId, asked]))
    .digest();
  return dependencies.database.transaction((transaction) =>
    onceByKey(transaction, actor, idempotencyKey, bodyHash, async (key) => {
      const source = await requireAccount(transaction, accountId, scope);
      return openOne(transaction, dependencies, source, asked, actor, key);
    }),
  );
}

export interface IdempotencyRecord {
  idempotencyKey: string | null;
  bodyHash: Buffer;
}

/** What was opened with this key before, or what `open` opens now. */
export async function onceByKey(
  transaction: Transaction,
  actor: SystemOrActor,
  idempotencyKey: string | undefined,
  bodyHash: Buffer,
  open: (key: IdempotencyRecord) => Promise<string>,
): Promise<string> {
  if (idempotencyKey) {
    await lockIdempotencyKey(transaction, actor.id, idempotencyKey);
    const repeated = await findByIdempotencyKey(transaction, actor.id, idempotencyKey);
    if (repeated && !repeated.body_hash?.equals(bodyHash)) throw keyReused();
    if (repeated) return repeated.id;
  }
  return open({ idempotencyKey: idempotencyKey ?? null, bodyHash });
}

/** What it throws comes of no query that failed, so that of many in one transaction the others may go on. */
export async function openOne(
  transaction: Transaction,
  { authorities }: Pick<EnrolmentDependencies, 'authorities'>,
  source: AccountSource,
  input: Asked,
  actor: SystemOrActor,
  key?: IdempotencyRecord,
): Promise<string> {
  // 1. Everything that is wrong with it.
  const asked = { ...input, dnsNames: input.dnsNames.toSorted() };
  const profile = authorities.profile(asked.profile);
  const faults = faultsOf(profile, source, asked);
  if (profile.id === orderedProfile[source.kind])
    faults.push({
      pointer: '/profile',
      code: 'profile_by_request',
      detail: `The certificate of profile ${profile.id} is ordered by a request to the directory service (operation issue_certificate).`,
    });
  if (faults.length > 0) throw invalid('enrolment_invalid', faults);
  authorities.issuing(profile.id);
  requireActive(source);
  await requireOfficersFor(transaction, profile, asked.path);

  // 2. One at a time.
  await closeEnded(transaction, source.id, profile.id, asked.dnsNames);
  const open = await findOpenEnrolment(transaction, source.id, profile.id, asked.dnsNames);
  const id = randomUUID();
  const inserted =
    !open &&
    (await insertEnrolment(transaction, {
      id,
      accountId: source.id,
      number: source.certificateNumber,
      credentialEpoch: source.credentialEpoch,
      ...asked,
      awaitsApproval: profile.fourEyes,
      askedBy: actor,
      ...key,
    }));
  if (!inserted)
    throw new ServiceError({
      kind: 'conflict',
      code: 'enrolment_open',
      detail: `The account has an enrolment of profile ${profile.id} already${open ? `, ${open.id}, which is ${open.state}` : ''}; renew its certificate when that is due.`,
    });

  // 3. On record, and on its way.
  const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
  await recordCertificateEvent(transaction, actor, 'enrolment.asked', subject, null, { enrolmentId: id, ...asked });
  if (!profile.fourEyes) await addJobs(transaction, 'certificate', [convergenceJob(source.id)]);
  return id;
}

/** What the profile does not allow this account, however it is asked for. */
export function faultsOf(profile: Profile, source: AccountSource, asked: Asked): Fault[] {
  const faults: Fault[] = [];
  const fault = (pointer: string, code: string, detail: string) => faults.push({ pointer, code, detail });
  if (!profile.accountKinds.includes(source.kind))
    fault(
      '/profile',
      'profile_not_for_account',
      `Certificates of profile ${profile.id} are for accounts of kind ${profile.accountKinds.join(', ') || 'none'}; this one is of kind ${source.kind}.`,
    );
  if (!profile.paths.includes(asked.path))
    fault(
      '/path',
      'path_not_for_profile',
      `Keys of profile ${profile.id} come by ${profile.paths.join(' or ') || 'no way that can be asked for'}.`,
    );
  const takesNames = profile.subjectAltName.find(({ kind }) => kind === 'dNSName');
  if (!takesNames && asked.dnsNames.length > 0)
    fault('/dnsNames', 'dns_names_not_for_profile', `Certificates of profile ${profile.id} have no host names.`);
  if (takesNames?.required && asked.dnsNames.length === 0)
    fault('/dnsNames', 'dns_names_missing', `A certificate of profile ${profile.id} needs at least one host name.`);
  asked.dnsNames.forEach((name, index) => {
    if (name !== source.mailDomain && !name.endsWith(`.${source.mailDomain}`))
      fault(
        `/dnsNames/${index}`,
        'dns_name_foreign',
        `The names of an agency's devices end in its domain, ${source.mailDomain}.`,
      );
    if (asked.dnsNames.indexOf(name) !== index) fault(`/dnsNames/${index}`, 'duplicate', 'This name is listed twice.');
  });
  return faults;
}

export function requireActive(source: AccountSource): void {
  if (source.state === 'active') return;
  throw new ServiceError({ kind: 'conflict', code: 'account_state', detail: 'The account is not active.' });
}

/** A key that is to be escrowed is not made before there is somebody to escrow it to. */
export async function requireOfficersFor(
  transaction: Transaction,
  profile: Profile,
  path: EnrolmentInput['path'],
): Promise<void> {
  if (!profile.escrow || path !== 'server_key' || (await listOfficersOnDuty(transaction)).length === 2) return;
  throw new ServiceError({
    kind: 'conflict',
    code: 'escrow_not_ready',
    detail: `Keys of profile ${profile.id} that are made here are kept for two recovery officers, and there are not two on duty.`,
  });
}
