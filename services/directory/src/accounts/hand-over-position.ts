/**
 * Positions (Chủ tịch, Văn thư) outlive their holders. Handing one over is one transaction: the old holding ends, the new one
 * begins, and the epoch of what was handed out grows: the password is taken out of LDAP, sessions end, certificates are revoked
 * (affiliationChanged), open activation codes are void. The new holder gets a new code. Persons are locked before positions,
 * everywhere, so that two changes never wait for each other.
 */
import type { Transaction } from '@congvu/database';
import { requireAccountForUpdate } from './account-store.ts';
import { voidActivationCodes } from './activation-code-store.ts';
import { type AccountRef, type Cause, conflict, lockAccountFor, recordChange } from './change-account.ts';
import { beginHolding, endHolding, findHolding, listPositionsHeldBy } from './position-store.ts';

export async function handOverPosition(
  transaction: Transaction,
  input: AccountRef & { holderAccountId: string | null; reason: string },
  cause: Cause,
): Promise<void> {
  // 1. Who will hold it: an active person of the caller's own subtree.
  const { holderAccountId } = input;
  const holder =
    holderAccountId === null
      ? null
      : await lockAccountFor(transaction, 'hold_position', { accountId: holderAccountId }, cause.actor);
  if (holder && holder.kind !== 'person') {
    throw conflict('holder_kind', `Only a person can hold a position; this is the account of a ${holder.kind}.`);
  }

  // 2. What passes.
  const position = await lockAccountFor(transaction, 'hand_over', input, cause.actor);
  if (position.kind !== 'position') {
    throw conflict(
      'account_kind',
      `Only a position passes from holder to holder; this account is of the kind ${position.kind}.`,
    );
  }
  const current = await findHolding(transaction, position.id);
  if ((current?.holder_id ?? null) === holderAccountId) {
    throw conflict(
      'nothing_changes',
      holder ? 'The position has this holder already.' : 'The position is vacant already.',
    );
  }

  // 3. From one to the other.
  const heldFrom = current && (await endHolding(transaction, current.id, input.reason, cause.actor));
  if (current) await voidActivationCodes(transaction, position.id);
  if (holder) {
    const holding = { positionId: position.id, holderId: holder.id, heldFrom, reason: input.reason };
    await beginHolding(transaction, holding, cause.actor);
  }
  await recordChange(
    transaction,
    position,
    {
      action: holder ? 'position.handed_over' : 'position.vacated',
      // Who gets a vacant position takes nothing over: what its last holder had is void since then.
      set: current ? { credential_epoch: transaction.raw('credential_epoch + 1') } : {},
      before: { holderAccountId: current?.holder_id ?? null },
      after: { holderAccountId, reason: input.reason },
    },
    cause,
  );
}

/** When the person goes. Also positions beyond the caller's subtree: nobody holds one without an account of one's own. */
export async function vacatePositionsOf(
  transaction: Transaction,
  holderId: string,
  reason: string,
  cause: Cause,
): Promise<void> {
  for (const positionId of await listPositionsHeldBy(transaction, holderId)) {
    await vacatePosition(transaction, positionId, reason, cause);
  }
}

export async function vacatePosition(
  transaction: Transaction,
  positionId: string,
  reason: string,
  cause: Cause,
): Promise<void> {
  const position = await requireAccountForUpdate(transaction, positionId, null);
  const current = await findHolding(transaction, positionId);
  if (!current) return;
  await endHolding(transaction, current.id, reason, cause.actor);
  await voidActivationCodes(transaction, positionId);
  await recordChange(
    transaction,
    position,
    {
      action: 'position.vacated',
      set: { credential_epoch: transaction.raw('credential_epoch + 1') },
      before: { holderAccountId: current.holder_id },
      after: { holderAccountId: null, reason },
    },
    cause,
  );
}
