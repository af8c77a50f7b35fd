/**
 * The holder picks up the server-made key and the certificate as PKCS#12, under a passphrase of the holder's own, once.
 * The file is opened and compared before it is handed out. Should the answer be lost, the same holder may repeat for ten
 * minutes; then the key is erased here.
 */
import { ServiceError } from '@congvu/errors';
import { unwrapPrivateKey } from '../authority/key-wrap.ts';
import { makePkcs12, type Pkcs12Form } from '../authority/pkcs12.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { findOfEnrolment, type HolderScope, isRevokedForGood } from '../certificates/certificate-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { findAccount, lockEnrolment, openPickup, requireEnrolment } from './enrolment-store.ts';

export async function pickUp(
  { database, authorities, wrappingKey }: EnrolmentDependencies,
  enrolmentId: string,
  holder: HolderScope,
  input: { passphrase: string; form: Pkcs12Form },
  actor: SystemOrActor,
): Promise<Buffer> {
  await requireEnrolment(database, enrolmentId, holder);
  const source = await findAccount(database, holder.accountId);
  if (source?.state !== 'active') {
    throw new ServiceError({ kind: 'conflict', code: 'account_state', detail: 'The account is not active.' });
  }

  // 1. Is there something to pick up, still?
  const enrolment = await database.transaction((transaction) => lockEnrolment(transaction, enrolmentId));
  const certificate = await findOfEnrolment(database, enrolmentId);
  if (enrolment.path !== 'server_key')
    throw conflict('enrolment_path', 'The key of this enrolment was made by its holder; there is nothing to pick up.');
  if (enrolment.state === 'revoked' || (certificate && isRevokedForGood(certificate)))
    throw conflict('certificate_revoked', 'The certificate of this key was revoked; there is nothing to pick up.');
  if (!certificate?.certificate || certificate.state !== 'valid') {
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
  const privateKey = unwrapPrivateKey(enrolment.wrapped_private_key, [wrappingKey], enrolmentId);
  const file = await makePkcs12({
    privateKey,
    certificate: certificate.certificate,
    chain: authorities.byId(certificate.authority_id).chain,
    passphrase: input.passphrase,
    friendlyName: source.displayName,
    form: input.form,
  }).finally(() => privateKey.fill(0));

  // 3. On record before it leaves.
  await database.transaction(async (transaction) => {
    const locked = await lockEnrolment(transaction, enrolmentId);
    if (!locked.wrapped_private_key) throw conflict('picked_up', 'This key was picked up a moment ago.');
    await openPickup(transaction, enrolmentId);
    await recordCertificateEvent(transaction, actor, 'enrolment.picked_up', certificate, null, {
      serialNumber: certificate.serial_number.toString('hex'),
      form: input.form,
    });
  });
  return file;
}

const conflict = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });
