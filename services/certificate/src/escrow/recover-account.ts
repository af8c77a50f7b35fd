/**
 * A recovery of the encryption keys of an account: one officer asks and says why, the other confirms, and then each is given the own
 * share of every key, to be opened by the own private key and put together away from here (recover.ts). Every step is on record before
 * it takes effect.
 */
import type { Recovery, RecoveryShares } from '@congvu/contracts';
import { brokenConstraint, type Database, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Authorities } from '../authorities/authorities.ts';
import { findAuthorityCertificate } from '../authorities/authority-store.ts';
import { recordEvent } from '../certificates/certificate-event.ts';
import { requireAccount } from '../enrolments/enrolment-store.ts';
import {
  cancelOverdue,
  insertRecovery,
  listEscrowedKeys,
  lockRecovery,
  type RecoveryRow,
  requireRecovery,
  updateRecovery,
} from './escrow-store.ts';
import { isOneHand, listOfficersOfClient, type OfficerRow, requireOfficer } from './officer-store.ts';
import type { ScopedActor } from './register-officer.ts';

const hoursOpen = 72;

export async function askRecovery(
  database: Database,
  input: { accountId: string; reason: string },
  actor: ScopedActor,
): Promise<Recovery> {
  const id = await database
    .transaction(async (transaction) => {
      const officer = await requirePresentOfficer(transaction, actor);
      const account = await requireAccount(transaction, input.accountId, { agencyCode: actor.agencyCode });
      if ((await listEscrowedKeys(transaction, account.id)).length === 0)
        throw conflict('nothing_escrowed', 'No encryption key of this account was escrowed.');
      await cancelOverdue(transaction, account.id);
      const recovery = { account_id: account.id, agency_id: account.agencyId };
      const made = await insertRecovery(transaction, {
        ...recovery,
        reason: input.reason,
        asked_by: officer.id,
        open_until: hoursFromNow(),
      });
      await record(transaction, actor, 'recovery.asked', { id: made, ...recovery }, { reason: input.reason });
      return made;
    })
    .catch((error: unknown) => {
      if (brokenConstraint(error) !== 'recoveries_one_waiting') throw error;
      throw conflict('recovery_open', 'A recovery of this account waits for its confirmation already.');
    });
  return requireRecovery(database, id, actor.agencyCode);
}

export async function confirmRecovery(database: Database, id: string, actor: ScopedActor): Promise<Recovery> {
  await database.transaction(async (transaction) => {
    const recovery = await lockRecovery(transaction, id, actor.agencyCode);
    const officer = await requirePresentOfficer(transaction, actor);
    const asker = await requireOfficer(transaction, recovery.asked_by);
    if (await isOneHand(transaction, asker.client_id, actor.id))
      throw new ServiceError({
        kind: 'forbidden',
        code: 'own_recovery',
        detail: 'A recovery is confirmed by the other officer, not by the one who asked.',
      });
    requireOpen(recovery, 'awaiting_confirmation');
    await updateRecovery(transaction, id, {
      state: 'confirmed',
      confirmed_by: officer.id,
      confirmed_at: new Date(),
      open_until: hoursFromNow(),
    });
    await record(transaction, actor, 'recovery.confirmed', recovery, { reason: recovery.reason });
  });
  return requireRecovery(database, id, actor.agencyCode);
}

/** Either officer may: no share is given out any more. */
export async function cancelRecovery(database: Database, id: string, actor: ScopedActor): Promise<Recovery> {
  await database.transaction(async (transaction) => {
    const recovery = await lockRecovery(transaction, id, actor.agencyCode);
    await requirePresentOfficer(transaction, actor);
    if (recovery.state === 'cancelled') throw conflict('recovery_state', 'The recovery was called off already.');
    await updateRecovery(transaction, id, { state: 'cancelled', confirmed_by: null, confirmed_at: null });
    await record(transaction, actor, 'recovery.cancelled', recovery, { reason: recovery.reason });
  });
  return requireRecovery(database, id, actor.agencyCode);
}

/** Also to one who is an officer no more, of the keys that are for that officer. */
export async function giveShares(
  { database, authorities }: { database: Database; authorities: Authorities },
  id: string,
  actor: ScopedActor,
): Promise<RecoveryShares> {
  return database.transaction(async (transaction) => {
    const recovery = await lockRecovery(transaction, id, actor.agencyCode);
    const officers = await listOfficersOfClient(transaction, actor.id);
    requireOpen(recovery, 'confirmed');
    const keys = await listEscrowedKeys(transaction, recovery.account_id);
    const mine = new Set(officers.map((officer) => officer.id));
    const officer = officers.find((one) =>
      keys.some((key) => key.first_officer_id === one.id || key.second_officer_id === one.id),
    );
    if (!officer) throw notOfficer();
    const account = await requireAccount(transaction, recovery.account_id, { agencyCode: actor.agencyCode });
    await record(transaction, actor, 'recovery.share_given', recovery, {
      reason: recovery.reason,
      serialNumbers: keys.map((key) => key.serial_number.toString('hex')),
    });
    // From the record: the key of an authority may be long gone when its certificates are needed.
    const chain = [authorities.root.certificate];
    for (const authorityId of new Set(keys.map((key) => key.authority_id))) {
      const issuer = await findAuthorityCertificate(transaction, authorityId);
      if (issuer) chain.unshift(issuer);
    }
    return {
      recoveryId: id,
      accountId: account.id,
      address: account.address,
      displayName: account.displayName,
      officerId: officer.id,
      chain: chain.map(base64),
      keys: keys.map((key) => ({
        enrolmentId: key.enrolment_id,
        serialNumber: key.serial_number.toString('hex'),
        certificate: base64(key.certificate),
        sealedKey: base64(key.sealed_key),
        share: mine.has(key.first_officer_id)
          ? base64(key.first_share)
          : mine.has(key.second_officer_id)
            ? base64(key.second_share)
            : null,
        officers: [key.first_officer, key.second_officer],
      })),
    };
  });
}

const base64 = (octets: Buffer): string => octets.toString('base64');
const hoursFromNow = (): Date => new Date(Date.now() + hoursOpen * 3_600_000);

async function requirePresentOfficer(transaction: Transaction, actor: ScopedActor): Promise<OfficerRow> {
  const [officer] = await listOfficersOfClient(transaction, actor.id);
  if (officer && officer.state !== 'awaiting_approval') return officer;
  throw notOfficer();
}

function requireOpen(recovery: RecoveryRow, state: RecoveryRow['state']): void {
  if (recovery.open_until < new Date())
    throw conflict('recovery_expired', `The recovery was open for ${hoursOpen} hours; ask for another.`);
  if (recovery.state !== state)
    throw conflict('recovery_state', `The recovery is ${recovery.state}; it must be ${state} for this.`);
}

const conflict = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });
const notOfficer = (): ServiceError =>
  new ServiceError({
    kind: 'forbidden',
    code: 'not_an_officer',
    detail: 'This is for the recovery officers to whom the keys were escrowed.',
  });

const record = (
  transaction: Transaction,
  actor: ScopedActor,
  action: Parameters<typeof recordEvent>[2],
  recovery: Pick<RecoveryRow, 'id' | 'account_id' | 'agency_id'>,
  after: object,
): Promise<void> =>
  recordEvent(
    transaction,
    actor,
    action,
    { type: 'account', id: recovery.account_id, agencyId: recovery.agency_id },
    null,
    { recoveryId: recovery.id, ...after },
  );
