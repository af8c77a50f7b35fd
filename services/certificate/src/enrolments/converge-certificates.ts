/**
 * Makes the certificates of an account what the account says: an enrolment and its certificate for one that is active and
 * was asked one, a hold for one that is suspended, revocation for one that is retired, and of all that came before the one
 * that was asked last; and in LDAP exactly the valid ones.
 * Harmless to repeat; begins again when the account changed meanwhile.
 */
import { randomUUID } from 'node:crypto';
import { addJobs, type Database } from '@congvu/database';
import type { Ldap } from '@congvu/ldap';
import type { Authorities } from '../authorities/authorities.ts';
import type { WrappingKey } from '../authority/key-wrap.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { certificateSystem, recordCertificateEvent } from '../certificates/certificate-event.ts';
import type { Issue } from '../certificates/issue-certificate.ts';
import { revokeCompromised } from '../compromised-keys/revoke-compromised.ts';
import type { KeyPool } from '../keys/key-pool.ts';
import { convergeRevocation, hasCeased } from '../revocation/converge-revocation.ts';
import { convergeAskedEnrolments } from './converge-asked-enrolments.ts';
import { awaitKeyJob } from './convergence-job.ts';
import { type AccountSource, findAccount, findOpenEnrolment, insertEnrolment } from './enrolment-store.ts';
import { orderedProfile } from './ordered-profile.ts';
import { publishCertificates } from './publish-certificates.ts';
import type { CsrReader } from './read-csrs.ts';

export interface EnrolmentDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  authorities: Authorities;
  organizationIdentifier: string;
  csrs: CsrReader;
  issue: Issue;
  wrappingKey: WrappingKey;
  keys: KeyPool;
  serverKeyKind: KeyKind;
}

export async function convergeCertificates(dependencies: EnrolmentDependencies, accountId: string): Promise<void> {
  const { database } = dependencies;
  for (;;) {
    const source = await findAccount(database, accountId);
    if (!source) return;
    // 1. Before anything new is made: what the account's state takes away or gives back.
    await convergeRevocation(dependencies, source, orderedProfile[source.kind]);
    await revokeCompromised(database, source.id);

    // 2. Enrolment and certificate.
    if (source.state === 'active' && source.certificatePath !== 'none' && !hasCeased(source))
      await ensureCertificate(dependencies, source);
    if (source.state === 'active' && !hasCeased(source)) await convergeAskedEnrolments(dependencies, source);

    // 3. LDAP: exactly the valid ones. Before the entry is there, its making asks for this again.
    if (source.entryVersion > 0) {
      const failure = (await publishCertificates(dependencies, [source])).get(source.id);
      if (failure) throw failure;
    }
    const now = await findAccount(database, accountId);
    if (!now || now.version === source.version) return;
  }
}

async function ensureCertificate(dependencies: EnrolmentDependencies, source: AccountSource): Promise<void> {
  const profileId = orderedProfile[source.kind];
  // The certificate of a title holder names its holder: for a vacant position it waits until there is one.
  if (!profileId || (source.kind === 'position' && !source.holderId)) return;
  const enrolment =
    (await findOpenEnrolment(dependencies.database, source.id, profileId)) ??
    (await enrol(dependencies, source, profileId));
  if (enrolment?.subject_public_key_info && enrolment.state !== 'awaiting_approval')
    await dependencies.issue({ enrolmentId: enrolment.id, actor: certificateSystem });
}

/**
 * A private key made here was wrapped when it was made, and is stored before anything is signed for it. While none is ready the
 * account waits its turn.
 */
async function enrol({ database, keys, serverKeyKind }: EnrolmentDependencies, source: AccountSource, profile: string) {
  const isServerKey = source.certificatePath === 'server_key';
  await database.transaction(async (transaction) => {
    const key = isServerKey ? await keys.take(transaction, serverKeyKind) : undefined;
    if (isServerKey && !key) return addJobs(transaction, 'certificate', [awaitKeyJob(source.id)]);
    // Should the enrolment be there already, the key is gone for nothing: nobody has seen it.
    const inserted = await insertEnrolment(transaction, {
      id: key?.id ?? randomUUID(),
      accountId: source.id,
      number: source.certificateNumber,
      profile,
      path: isServerKey ? 'server_key' : 'csr',
      wrappedPrivateKey: key?.wrappedPrivateKey ?? null,
      subjectPublicKeyInfo: key?.subjectPublicKeyInfo ?? null,
    });
    if (!inserted) return;
    const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
    await recordCertificateEvent(transaction, certificateSystem, 'enrolment.opened', subject, null, {
      path: source.certificatePath,
      profile,
    });
  });
  return findOpenEnrolment(database, source.id, profile);
}
