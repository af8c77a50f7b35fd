/**
 * The server-made key and its certificate are picked up as PKCS#12, once. The file and what opens it go two ways: the holder takes it
 * under a passphrase of the holder's own, or under one that is made here; the agency takes it only under the one that is made here,
 * which the holder alone is shown (show-passphrase.ts). The file is opened and compared before it is handed out. Should the answer be
 * lost, it may be repeated for ten minutes; then the key is erased here.
 */
import { invalid, ServiceError } from '@congvu/errors';
import { unwrapPrivateKey } from '../authority/key-wrap.ts';
import { makePkcs12, type Pkcs12Form } from '../authority/pkcs12.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { findOfEnrolment, isRevokedForGood, type Scope } from '../certificates/certificate-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { findAccount, lockEnrolment, openPickup, requireEnrolment } from './enrolment-store.ts';
import { passphraseOf } from './show-passphrase.ts';

export async function pickUp(
  dependencies: EnrolmentDependencies,
  enrolmentId: string,
  scope: Scope,
  input: { passphrase?: string | undefined; form: Pkcs12Form },
  actor: SystemOrActor,
): Promise<Buffer> {
  const { database, authorities, wrappingKey } = dependencies;
  const { accountId } = await requireEnrolment(database, enrolmentId, scope);
  if (input.passphrase !== undefined && !('accountId' in scope)) {
    const detail = 'Whoever carries the file does not know its passphrase; leave it out, the holder is shown one.';
    throw invalid('passphrase_not_yours', [{ pointer: '/passphrase', code: 'passphrase_not_yours', detail }]);
  }
  const source = await findAccount(database, accountId);
  if (source?.state !== 'active') {
    throw new ServiceError({ kind: 'conflict', code: 'account_state', detail: 'The account is not active.' });
  }

  // 1. Is there something to pick up, still?
  const enrolment = await database.transaction((transaction) => lockEnrolment(transaction, enrolmentId));
  const certificate = await findOfEnrolment(database, enrolmentId);
  if (enrolment.path !== 'server_key' || enrolment.same_key)
    throw conflict('enrolment_path', 'The holder has the key of this enrolment already; there is nothing to pick up.');
  if (enrolment.state === 'revoked' || (certificate && isRevokedForGood(certificate)))
    throw conflict('certificate_revoked', 'The certificate of this key was revoked; there is nothing to pick up.');
  if (enrolment.state === 'awaiting_approval' || enrolment.state === 'rejected')
    throw conflict('enrolment_state', `The enrolment is ${enrolment.state}; there is nothing to pick up.`);
  if (certificate?.state !== 'valid') {
    throw new ServiceError({
      kind: 'unavailable',
      code: 'certificate_not_ready',
      detail: 'The certificate is still being made; try again in a moment.',
      retryAfterSeconds: 5,
    });
  }
  const closed = enrolment.pickup_open_until !== null && enrolment.pickup_open_until < new Date();
  if (!enrolment.wrapped_private_key || closed) {
    throw conflict(
      'picked_up',
      'This key was picked up before and is no longer here; if it was not by you, tell your administrator now.',
    );
  }

  // 2. Make and prove the file, before anything is marked.
  const passphrase = input.passphrase ?? (await passphraseOf(dependencies, enrolmentId));
  const privateKey = unwrapPrivateKey(enrolment.wrapped_private_key, [wrappingKey], enrolmentId);
  const file = await makePkcs12({
    privateKey,
    certificate: certificate.certificate,
    chain: authorities.byId(certificate.authority_id).chain,
    passphrase,
    isGenerated: input.passphrase === undefined,
    friendlyName: source.displayName,
    form: input.form,
  }).finally(() => privateKey.fill(0));

  // 3. On record before it leaves.
  await database.transaction(async (transaction) => {
    const locked = await lockEnrolment(transaction, enrolmentId);
    if (!locked.wrapped_private_key) throw conflict('picked_up', 'This key was picked up a moment ago.');
    await openPickup(transaction, enrolmentId, { actor, displayName: source.displayName, form: input.form });
    await recordCertificateEvent(transaction, actor, 'enrolment.picked_up', certificate, null, {
      serialNumber: certificate.serial_number.toString('hex'),
      form: input.form,
    });
  });
  return file;
}

const conflict = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });
