/** Every query on directory.position_holdings: who held which position, from when to when. Added to and ended, never deleted. */
import type { PositionHolding } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import type { Actor } from '../audit/audit-event.ts';

interface HoldingRow {
  id: string;
  holder_id: string;
  holder_name: string;
}

/** The holding that lasts. The position must be locked by whoever decides by it. */
export const findHolding = (connection: Connection, positionId: string): Promise<HoldingRow | undefined> =>
  connection('directory.position_holdings as h')
    .join('directory.accounts as p', 'p.id', 'h.holder_id')
    .where('h.position_id', positionId)
    .whereNull('h.held_to')
    .first('h.id', 'h.holder_id', 'p.display_name as holder_name');

/** When it ended. */
export async function endHolding(transaction: Transaction, id: string, reason: string, actor: Actor): Promise<Date> {
  const [row] = await transaction('directory.position_holdings')
    .where({ id })
    .update({
      // The clock and not the start of the transaction, which may have waited for another that began this holding.
      held_to: transaction.raw('greatest(held_from, clock_timestamp())'),
      ended_by: actor.id,
      ended_reason: reason,
    })
    .returning<{ held_to: Date }[]>('held_to');
  if (!row) throw new Error('a holding that is to end is not there');
  return row.held_to;
}

export async function beginHolding(
  transaction: Transaction,
  holding: { positionId: string; holderId: string; heldFrom: Date | undefined; reason: string },
  actor: Actor,
): Promise<void> {
  await transaction('directory.position_holdings').insert({
    position_id: holding.positionId,
    holder_id: holding.holderId,
    held_from: holding.heldFrom ?? transaction.raw('clock_timestamp()'),
    begun_by: actor.id,
    begun_reason: holding.reason,
  });
}

/** In one order, so that two that lock them do not wait for each other. */
export const listPositionsHeldBy = (transaction: Transaction, holderId: string): Promise<string[]> =>
  transaction('directory.position_holdings')
    .where({ holder_id: holderId })
    .whereNull('held_to')
    .orderBy('position_id')
    .pluck('position_id');

interface HistoryRow {
  id: string;
  holder_id: string;
  display_name: string;
  address: string;
  held_from: Date;
  held_to: Date | null;
  begun_reason: string;
  ended_reason: string | null;
}

/** Newest first. */
export async function listHoldings(
  connection: Connection,
  positionId: string,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<(PositionHolding & { id: string })[]> {
  const rows = await connection('directory.position_holdings as h')
    .join('directory.accounts as c', 'c.id', 'h.holder_id')
    .where('h.position_id', positionId)
    .modify((query) => {
      if (after) query.whereRaw('(h.held_from, h.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'h.held_from', order: 'desc' },
      { column: 'h.id', order: 'desc' },
    ])
    .limit(limit + 1)
    .select<HistoryRow[]>(
      'h.id',
      'h.holder_id',
      'c.display_name',
      'c.address',
      'h.held_from',
      'h.held_to',
      'h.begun_reason',
      'h.ended_reason',
    );
  return rows.map((row) => ({
    id: row.id,
    accountId: row.holder_id,
    displayName: row.display_name,
    address: row.address,
    from: row.held_from.toISOString(),
    to: row.held_to?.toISOString() ?? null,
    reason: row.begun_reason,
    endReason: row.ended_reason,
  }));
}
