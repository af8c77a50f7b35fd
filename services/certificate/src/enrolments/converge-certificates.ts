/**
 * Makes the certificates of an account what the account says: an enrolment and its certificate for one that is active and
 * was asked one, a hold for one that is suspended, revocation for one that is retired, and of all that came before the one
 * that was asked last; and in LDAP exactly the valid ones.
 * Harmless to repeat; begins again when the account changed meanwhile.
 */
import { randomUUID } from 'node:crypto';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { anyOf, diffAttributes, type Ldap } from '@congvu/ldap';
import type { Authorities } from '../authorities/authorities.ts';
import { generateKeyPair } from '../authority/key-pair.ts';
import { type WrappingKey, wrapPrivateKey } from '../authority/key-wrap.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { certificateSystem, recordCertificateEvent } from '../certificates/certificate-event.ts';
import { listOfAccount } from '../certificates/certificate-store.ts';
import { issueCertificate } from '../certificates/issue-certificate.ts';
import { convergeRevocation, hasCeased } from '../revocation/converge-revocation.ts';
import { type AccountSource, findAccount, findOpenEnrolment, insertEnrolment } from './enrolment-store.ts';

export interface EnrolmentDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  authorities: Authorities;
  organizationIdentifier: string;
  wrappingKey: WrappingKey;
  serverKeyKind: KeyKind;
}

export async function convergeCertificates(dependencies: EnrolmentDependencies, accountId: string): Promise<void> {
  const { database } = dependencies;
  for (;;) {
    const source = await findAccount(database, accountId);
    if (!source) return;
    // 1. Before anything new is made: what the account's state takes away or gives back.
    await convergeRevocation(dependencies, source, orderedProfile[source.kind]);

    // 2. Enrolment and certificate.
    if (source.state === 'active' && source.certificatePath !== 'none' && !hasCeased(source))
      await ensureCertificate(dependencies, source);

    // 3. LDAP: exactly the valid ones. Before the entry is there, its making asks for this again.
    if (source.entryVersion > 0) await publishCertificates(dependencies, source);
    const now = await findAccount(database, accountId);
    if (!now || now.version === source.version) return;
  }
}

/** Of which profile the certificate is that the directory orders for an account. */
export const orderedProfile: Readonly<Partial<Record<AccountSource['kind'], string>>> = {
  person: 'person-signature',
  position: 'authority-signature',
  agency: 'agency-seal',
};

async function ensureCertificate(dependencies: EnrolmentDependencies, source: AccountSource): Promise<void> {
  const profileId = orderedProfile[source.kind];
  if (!profileId) return;
  const enrolment =
    (await findOpenEnrolment(dependencies.database, source.id, profileId)) ??
    (await enrol(dependencies, source, profileId));
  if (enrolment?.subject_public_key_info) await issueCertificate(dependencies, source, enrolment.id, certificateSystem);
}

/** The private key is wrapped before it is stored, and stored before anything is signed for it. */
async function enrol(
  { database, wrappingKey, serverKeyKind }: EnrolmentDependencies,
  source: AccountSource,
  profile: string,
) {
  const id = randomUUID();
  const pair = source.certificatePath === 'server_key' ? await generateKeyPair(serverKeyKind) : undefined;
  await database.transaction(async (transaction) => {
    const inserted = await insertEnrolment(transaction, {
      id,
      accountId: source.id,
      number: source.certificateNumber,
      profile,
      path: pair ? 'server_key' : 'csr',
      wrappedPrivateKey: pair ? wrapPrivateKey(pair.privateKey, wrappingKey, id) : null,
      subjectPublicKeyInfo: pair?.subjectPublicKeyInfo ?? null,
    });
    if (!inserted) return;
    const subject = { account_id: source.id, agency_id: source.agencyId, request_id: source.requestId };
    await recordCertificateEvent(transaction, certificateSystem, 'enrolment.opened', subject, null, {
      path: source.certificatePath,
      profile,
    });
  });
  pair?.privateKey.fill(0);
  return findOpenEnrolment(database, source.id, profile);
}

const listValid = async (database: Database, accountId: string): Promise<Buffer[]> =>
  (await listOfAccount(database, accountId)).flatMap(({ state, certificate, not_after }) =>
    state === 'valid' && certificate && not_after > new Date() ? [certificate] : [],
  );

/** Also tells the directory once the certificate is where it belongs, or is gone as was wanted. */
export async function publishCertificates(
  { database, ldap, baseDn }: Pick<EnrolmentDependencies, 'database' | 'ldap' | 'baseDn'>,
  source: AccountSource,
): Promise<void> {
  const valid = await listValid(database, source.id);
  const wanted = { 'userCertificate;binary': valid };
  const [entry] = await ldap.search(`ou=people,${baseDn}`, {
    scope: 'one',
    filter: anyOf('congvuAccountId', [source.id]),
    attributes: Object.keys(wanted),
  });
  if (!entry) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'entry_missing',
      detail: 'The LDAP entry of the account, which was made before, is not there; reconcile the directory.',
    });
  }
  const changes = diffAttributes(entry.attributes, wanted);
  if (changes.length > 0) await ldap.modify(entry.dn, changes);
  // Revoked between reading and writing: its own job may have looked before we wrote.
  const now = await listValid(database, source.id);
  if (diffAttributes({ valid }, { valid: now }).length > 0)
    return publishCertificates({ database, ldap, baseDn }, source);
  if (valid.length > 0 || source.certificatePath === 'none')
    await database.raw('select directory.report_provisioned(?::uuid[])', [[source.id]]);
}
