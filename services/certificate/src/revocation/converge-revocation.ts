/**
 * What an account's state takes away from its certificates, and gives back: all of them when it is retired, those of an earlier
 * order, those of its former agency where the profile wants that, those of an agency and its devices when the agency closes; a hold
 * while it is suspended. Harmless to repeat.
 */
import { addJobs, type Database } from '@congvu/database';
import type { Authorities } from '../authorities/authorities.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import {
  type CertificateRow,
  isRevokedForGood,
  listAccountsOfClosed,
  listOfAccount,
  type RevocationReason,
} from '../certificates/certificate-store.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import {
  type AccountSource,
  closeEnrolment,
  closeEnrolmentsBefore,
  closeOpenEnrolments,
} from '../enrolments/enrolment-store.ts';
import { applyRelease, applyRevocation } from './apply-revocation.ts';

/** `ordered` is the profile of which the directory orders certificates for the account. */
export async function convergeRevocation(
  { database, authorities }: { database: Database; authorities: Authorities },
  source: AccountSource,
  ordered: string | undefined,
): Promise<void> {
  // Nothing that came before the one that is wanted; and with none wanted, nothing at all.
  const wanted = source.certificatePath === 'none' ? source.certificateNumber + 1 : source.certificateNumber;
  await database.transaction(async (transaction) => {
    await closeEnrolmentsBefore(transaction, source.id, ordered ?? '', wanted);
    if (hasCeased(source)) await closeOpenEnrolments(transaction, source.id);
    for (const certificate of await listOfAccount(transaction, source.id)) {
      if (isRevokedForGood(certificate)) continue;
      // Certificates of other profiles were asked for here and not there.
      const isFormer = certificate.profile === ordered && certificate.enrolment_number < wanted;
      const reason = reasonAgainst(source, certificate, isFormer, authorities);
      if (!reason) await applyRelease(transaction, certificate, { decided: false }, certificateSystem);
      else {
        const applied = await applyRevocation(transaction, certificate, { reason }, certificateSystem);
        // So that the account can have another, in the name of where it is now.
        if (applied && reason === 'affiliationChanged') await closeEnrolment(transaction, certificate.enrolment_id);
      }
    }
  });
}

function reasonAgainst(
  source: AccountSource,
  certificate: CertificateRow,
  isFormer: boolean,
  { profiles }: Authorities,
): RevocationReason | undefined {
  if (source.state === 'retired' || hasCeased(source)) return 'cessationOfOperation';
  if (isFormer) return source.revocationReason ?? 'superseded';
  if (certificate.agency_id !== source.agencyId && profiles.get(certificate.profile)?.onTransfer === 'revoke')
    return 'affiliationChanged';
  return source.state === 'suspended' ? 'certificateHold' : undefined;
}

/** An agency's own account, and those of its programs and devices, end with it. People and positions go on elsewhere. */
export const hasCeased = ({ kind, agencyStatus }: AccountSource): boolean =>
  agencyStatus === 'closed' && (kind === 'agency' || kind === 'service');

/** Agencies close at midnight, without a change of their accounts: the accounts of those are looked at. */
export async function followClosedAgencies(database: Database): Promise<void> {
  await addJobs(database, 'certificate', (await listAccountsOfClosed(database)).map(convergenceJob));
}
