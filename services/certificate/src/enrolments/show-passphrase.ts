/**
 * The passphrase that is made here for the file with a server-made key: shown to the holder alone, on the holder's own token, and in no
 * answer that holds the file. It is wrapped at rest, may be shown again for thirty days after the first time, and is then forgotten.
 */
import { ServiceError } from '@congvu/errors';
import { unwrapPrivateKey, wrapPrivateKey } from '../authority/key-wrap.ts';
import { newPassphrase } from '../authority/pkcs12.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import type { HolderScope } from '../certificates/certificate-store.ts';
import { setPassphrase, setPassphraseShown } from './asked-enrolment-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { lockEnrolment, requireAccount, requireEnrolment } from './enrolment-store.ts';
import { requireActive } from './open-enrolment.ts';

export async function showPassphrase(
  dependencies: EnrolmentDependencies,
  enrolmentId: string,
  holder: HolderScope,
  actor: SystemOrActor,
): Promise<string> {
  const { database } = dependencies;
  await requireEnrolment(database, enrolmentId, holder);
  const passphrase = await passphraseOf(dependencies, enrolmentId);
  await database.transaction(async (transaction) => {
    const source = await requireAccount(transaction, holder.accountId, holder);
    requireActive(source);
    await setPassphraseShown(transaction, enrolmentId);
    const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
    await recordCertificateEvent(transaction, actor, 'enrolment.passphrase_shown', subject, null, { enrolmentId });
  });
  return passphrase;
}

/** Made on first need, and the same from then on. */
export const passphraseOf = ({ database, wrappingKey }: EnrolmentDependencies, enrolmentId: string): Promise<string> =>
  database.transaction(async (transaction) => {
    const enrolment = await lockEnrolment(transaction, enrolmentId);
    const label = `passphrase:${enrolmentId}`;
    if (enrolment.wrapped_passphrase)
      return unwrapPrivateKey(enrolment.wrapped_passphrase, [wrappingKey], label).toString('latin1');
    if (!enrolment.wrapped_private_key)
      throw new ServiceError({
        kind: 'conflict',
        code: 'no_passphrase',
        detail:
          'There is no file whose passphrase is made here: the key is the holder’s own, is not made yet, or is no longer here.',
      });
    const passphrase = newPassphrase();
    await setPassphrase(
      transaction,
      enrolmentId,
      wrapPrivateKey(Buffer.from(passphrase, 'latin1'), wrappingKey, label),
    );
    return passphrase;
  });
