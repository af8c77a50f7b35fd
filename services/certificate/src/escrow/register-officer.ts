/**
 * How somebody becomes one of the two recovery officers, and ceases to be: brings a certificate, opens a challenge that was
 * encrypted to it (a share that its officer cannot open would be lost for ever, and nobody would know until it is needed), and is
 * approved by somebody else. The two on duty are two hands: neither was shown the other's secret.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { brokenConstraint, type Database, type Transaction } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import {
  type Certificate,
  fingerprintOf,
  fromPem,
  keyUsageBitsOf,
  readCertificate,
  toPem,
} from '../authority/certificate.ts';
import { makeEnveloped } from '../authority/enveloped-data.ts';
import { keyUsageBit } from '../authority/oids.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { requireStrongKey } from '../authority/weak-key.ts';
import { recordEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { fingerprintOfKey, listCompromised } from '../compromised-keys/compromised-key-store.ts';
import {
  findTopAgency,
  findUnproven,
  insertOfficer,
  isOneHand,
  listOfficersOfClient,
  listOfficersOnDuty,
  lockOfficers,
  type OfficerRow,
  requireOfficer,
  updateOfficer,
} from './officer-store.ts';

export type ScopedActor = SystemOrActor & { agencyCode: string };

/** The challenge is PEM (RFC 7468, CMS). Registering again before the proof makes a new one. */
export async function registerOfficer(
  database: Database,
  input: { name: string; certificate: string },
  actor: ScopedActor,
): Promise<{ officer: OfficerRow; challenge: string }> {
  const certificate = readOfficerCertificate(input.certificate);
  const secret = randomBytes(32);
  const fields = {
    name: input.name,
    certificate: certificate.der,
    fingerprint_sha256: Buffer.from(fingerprintOf(certificate.der), 'hex'),
    proof_hash: hashOf(secret),
  };
  const officer = await database
    .transaction(async (transaction) => {
      await lockOfficers(transaction);
      const agency = await requireTopAgency(transaction, actor);
      await refuseCompromised(transaction, certificate);
      const [present] = await listOfficersOfClient(transaction, actor.id);
      if (present && present.state !== 'retired')
        throw state('officer_registered', 'This client is an officer already.');
      const unproven = await findUnproven(transaction, actor.id);
      const row = unproven
        ? await updateOfficer(transaction, unproven.id, fields)
        : await insertOfficer(transaction, { client_id: actor.id, agency_id: agency.id, ...fields });
      await record(transaction, actor, 'recovery_officer.registered', row);
      return row;
    })
    .catch((error: unknown) => {
      if (brokenConstraint(error) !== 'recovery_officers_certificate_unique') throw error;
      throw refused(
        'certificate_used',
        'This certificate was brought before; make a key and a certificate of your own.',
      );
    });
  const challenge = toPem('CMS', makeEnveloped(secret, certificate));
  secret.fill(0);
  return { officer, challenge };
}

/** Only who can open the challenge knows what is in it. */
export async function proveOfficer(
  database: Database,
  id: string,
  proof: string,
  actor: ScopedActor,
): Promise<OfficerRow> {
  return database.transaction(async (transaction) => {
    await lockOfficers(transaction);
    const officer = await requireOfficer(transaction, id);
    if (officer.client_id !== actor.id)
      throw new ServiceError({
        kind: 'forbidden',
        code: 'not_your_registration',
        detail: 'Whoever brought the certificate proves that it opens.',
      });
    if (officer.state !== 'awaiting_proof') throw state('officer_state', `The officer is ${officer.state}.`);
    if (!timingSafeEqual(hashOf(Buffer.from(proof, 'hex')), officer.proof_hash)) {
      const detail = 'This is not what the challenge holds; open the last one that you were given.';
      throw invalid('proof_wrong', [{ pointer: '/proof', code: 'proof_wrong', detail }]);
    }
    const proven = await updateOfficer(transaction, id, { state: 'awaiting_approval' });
    await record(transaction, actor, 'recovery_officer.proved', proven);
    return proven;
  });
}

/** From then on every escrowed key is for this officer and the one beside. */
export async function approveOfficer(database: Database, id: string, actor: ScopedActor): Promise<OfficerRow> {
  return database.transaction(async (transaction) => {
    await lockOfficers(transaction);
    await requireTopAgency(transaction, actor);
    const officer = await requireOfficer(transaction, id);
    if (await isOneHand(transaction, actor.id, officer.client_id))
      throw new ServiceError({
        kind: 'forbidden',
        code: 'own_officer',
        detail: 'An officer is approved by another client, neither made by the officer nor the officer’s maker.',
      });
    if (officer.state !== 'awaiting_approval') throw state('officer_state', `The officer is ${officer.state}.`);
    const onDuty = await listOfficersOnDuty(transaction);
    const seat = ([1, 2] as const).find((free) => onDuty.every((other) => other.seat !== free));
    if (!seat) throw state('officers_complete', 'Two officers are on duty; one of them must be retired first.');
    for (const other of onDuty)
      if (await isOneHand(transaction, other.client_id, officer.client_id))
        throw state('one_hand', 'One of the two officers was shown the secret of the other; they would be one person.');
    const approved = await updateOfficer(transaction, id, {
      state: 'active',
      seat,
      approved_by: actor.id,
      active_from: new Date(),
    });
    await record(transaction, actor, 'recovery_officer.approved', approved);
    return approved;
  });
}

/** What was escrowed to an officer stays so: whoever retires keeps the private key, or hands it over. */
export async function retireOfficer(database: Database, id: string, actor: ScopedActor): Promise<OfficerRow> {
  return database.transaction(async (transaction) => {
    await lockOfficers(transaction);
    await requireTopAgency(transaction, actor);
    const officer = await requireOfficer(transaction, id);
    if (officer.state === 'retired') throw state('officer_state', 'The officer is retired already.');
    const retired = await updateOfficer(transaction, id, { state: 'retired', seat: null, retired_at: new Date() });
    await record(transaction, actor, 'recovery_officer.retired', retired);
    return retired;
  });
}

const hashOf = (octets: Buffer): Buffer => createHash('sha256').update(octets).digest();

/** The officers are there for every account, and so is whoever decides who they are. */
async function requireTopAgency(transaction: Transaction, actor: ScopedActor): Promise<{ id: string }> {
  const agency = await findTopAgency(transaction, actor.agencyCode);
  if (agency) return agency;
  throw new ServiceError({
    kind: 'forbidden',
    code: 'top_agency_only',
    detail: 'Recovery officers are of the agency above all others, and so is whoever decides on them.',
  });
}

function readOfficerCertificate(pem: string): Certificate {
  let certificate: Certificate;
  let keyKind: string;
  try {
    certificate = readCertificate(fromPem('CERTIFICATE', pem));
    keyKind = keyKindOf(certificate.subjectPublicKeyInfo);
    requireStrongKey(certificate.subjectPublicKeyInfo);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    throw refused(error.code, error.detail);
  }
  const faults: Fault[] = [];
  const fault = (code: string, detail: string) => faults.push({ pointer: '/certificate', code, detail });
  if (!keyKind.startsWith('rsa')) fault('key_kind', 'Shares are encrypted to RSA keys; this one is of another kind.');
  const bits = keyUsageBitsOf(certificate);
  if (bits && !bits.includes(keyUsageBit.keyEncipherment))
    fault('key_usage', 'The certificate’s key usage does not let anything be encrypted to its key.');
  const now = new Date();
  if (now < certificate.notBefore || now > certificate.notAfter)
    fault('certificate_not_in_date', 'The certificate is not valid today.');
  if (faults.length > 0) throw invalid('officer_certificate_invalid', faults);
  return certificate;
}

async function refuseCompromised(transaction: Transaction, certificate: Certificate): Promise<void> {
  const found = await listCompromised(transaction, [fingerprintOfKey(certificate.subjectPublicKeyInfo)]);
  if (found.size > 0) throw refused('key_compromised', 'The key of this certificate is known to others.');
}

const refused = (code: string, detail: string): ServiceError =>
  invalid('officer_certificate_invalid', [{ pointer: '/certificate', code, detail }]);
const state = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });

const record = (
  transaction: Transaction,
  actor: ScopedActor,
  action: Parameters<typeof recordEvent>[2],
  officer: OfficerRow,
): Promise<void> =>
  recordEvent(
    transaction,
    actor,
    action,
    { type: 'recovery_officer', id: officer.id, agencyId: officer.agency_id },
    null,
    {
      name: officer.name,
      clientId: officer.client_id,
      state: officer.state,
      certificateFingerprintSha256: officer.fingerprint_sha256.toString('hex'),
    },
  );
