/** Changes single facts of one agency from a date on; what held before stays on record. All faults at once. */

import { isDeepStrictEqual } from 'node:util';
import type { AgencyChange } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { parseCode } from './agency-code-input.ts';
import { type Period, state } from './agency-periods.ts';
import {
  type AgencyRecord,
  type AgencyRow,
  loadRecord,
  lockAgencies,
  requireAgency,
  subtreeCodes,
  today,
} from './agency-store.ts';
import { checkTree } from './check-tree.ts';
import { recordAgencies } from './record-agencies.ts';

export async function changeAgency(
  database: Database,
  code: string,
  change: AgencyChange,
  version: number | undefined,
  actor: Actor & { agencyCode: string },
): Promise<AgencyRow> {
  const { validFrom, validTo, gsoCode, successorCode, parentCode, ...facts } = change;
  const readCode = (input: string | null | undefined, field: string) =>
    typeof input === 'string' ? parseCode(input, `/${field}`) : input;
  const successor = readCode(successorCode, 'successorCode');
  const parent = readCode(parentCode, 'parentCode');

  return database.transaction(async (transaction) => {
    // 1. The agency, as the caller last saw it.
    await lockAgencies(transaction);
    const row = await requireAgency(transaction, code, actor.agencyCode);
    if (version !== undefined && version !== row.version) {
      throw new ServiceError({
        kind: 'stale',
        code: 'stale_version',
        detail: `The agency is now at version ${row.version}; read it again before changing it.`,
      });
    }
    const record = await loadRecord(transaction);
    const present = record.get(code) as AgencyRecord;
    const day = await today(transaction);

    // 2. What it would be.
    const stated = { ...facts, ...(parent !== undefined && { parentCode: parent }) };
    const life = state(present.periods, { facts: stated, from: validFrom, to: validTo }, day);
    if (!life.ok) {
      const { field, code: kind, detail } = life.fault;
      throw invalid('agency_invalid', [{ pointer: `/${field}`, code: kind, detail }]);
    }
    const wanted: AgencyRecord = {
      ...present,
      periods: life.periods,
      gsoCode: gsoCode === undefined ? present.gsoCode : gsoCode,
      successorCode: successor === undefined ? present.successorCode : successor,
    };
    const faults = [
      ...checkSuccessorOfOpen(wanted),
      ...(await checkInTree(transaction, wanted, record, actor.agencyCode)),
    ];
    if (faults.length > 0) throw invalid('agency_invalid', faults);

    // 3. Write it, if it is anything new.
    if (!isDeepStrictEqual(wanted, present)) await recordAgencies(transaction, [wanted], record, actor, day);
    return requireAgency(transaction, code, actor.agencyCode);
  });
}

const checkSuccessorOfOpen = ({ successorCode, periods }: AgencyRecord): Fault[] =>
  successorCode !== null && periods.at(-1)?.validTo === null
    ? [
        {
          pointer: '/validTo',
          code: 'successor_of_open',
          detail: 'An agency that has a successor also ends; give its end, or take the successor away.',
        },
      ]
    : [];

/** Every parent that the agency newly has at any time. */
async function checkInTree(
  transaction: Transaction,
  wanted: AgencyRecord,
  record: ReadonlyMap<string, AgencyRecord>,
  scope: string,
): Promise<Fault[]> {
  const { code, periods } = wanted;
  const known = new Set(record.get(code)?.periods.map(({ level, parentCode }) => `${level} ${parentCode}`));
  const isNew = ({ level, parentCode }: Period) => !known.has(`${level} ${parentCode}`);
  const changed = periods.filter(isNew);
  const lines = (changed.length > 0 ? changed : periods.slice(-1)).map(({ level, parentCode }) => ({
    row: 0,
    code,
    level,
    parentCode,
  }));
  const inside = new Set(await subtreeCodes(transaction, scope));
  const next = new Map(record).set(code, wanted);
  const found = checkTree(lines, { record, next, scope, inside });
  return found.map(({ field, code: kind, detail }) => ({ pointer: `/${field}`, code: kind, detail }));
}
