/**
 * Imports agencies from a file. All or nothing, unless the faulty rows are to be left out: then the sound ones are taken, and none
 * that hangs on a refused one. Importing the same file again changes nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import type { AgencyImportReport, ImportFinding } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { type Fault, invalid } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { periodAt, statusAt } from './agency-periods.ts';
import { type AgencyRecord, countAccounts, loadRecord, lockAgencies, subtreeCodes, today } from './agency-store.ts';
import { judgeRows } from './judge-rows.ts';
import { type AgencyFile, type Column, readAgencyRows } from './read-agency-rows.ts';
import { recordAgencies, type WantedAgency } from './record-agencies.ts';

export async function importAgencies(
  database: Database,
  file: { content: Buffer; mediaType: string },
  options: { dryRun: boolean; skipRefused: boolean },
  actor: Actor & { agencyCode: string },
): Promise<AgencyImportReport> {
  // 1. Read and check every row by itself.
  const read = await readAgencyRows(file.content, file.mediaType);

  return database.transaction(async (transaction) => {
    // 2. Check the rows against each other and against the record.
    await lockAgencies(transaction);
    const record = await loadRecord(transaction);
    const day = await today(transaction);
    const { skipRefused } = options;
    const scope = actor.agencyCode;
    const inside = new Set(await subtreeCodes(transaction, scope));
    const { wanted, refused } = judgeRows(read, { record, scope, inside, today: day, skipRefused });
    if (refused.length > 0 && !skipRefused) throw invalid('agencies_invalid', toFaults(refused));

    // 3. Say what it comes to.
    const changed = [...wanted.values()].filter((agency) => !isSame(agency, record.get(agency.code)));
    const added = changed.filter((agency) => !record.has(agency.code)).length;
    const warnings = [...read.warnings, ...(await remarksOn(transaction, changed, record, read, day))];
    const report = {
      dryRun: options.dryRun,
      added,
      changed: changed.length - added,
      unchanged: wanted.size - changed.length,
      refused,
      corrections: read.corrections.slice(0, mostRemarks),
      warnings: warnings.slice(0, mostRemarks),
    };

    // 4. Write it, with its events, and bring LDAP to the same state.
    if (!options.dryRun) await recordAgencies(transaction, changed, record, actor, day);
    return report;
  });
}

function isSame(wanted: WantedAgency, present: AgencyRecord | undefined): boolean {
  if (!present) return false;
  const { gsoCode, successorCode, periods } = present;
  return (
    gsoCode === wanted.gsoCode && successorCode === wanted.successorCode && isDeepStrictEqual(periods, wanted.periods)
  );
}

/** What is taken and should be known: accounts and agencies that hang on what ends now, and agencies placed below what has ended. */
async function remarksOn(
  transaction: Transaction,
  changed: readonly WantedAgency[],
  record: ReadonlyMap<string, AgencyRecord>,
  read: AgencyFile,
  day: string,
): Promise<ImportFinding[]> {
  const next = new Map([...record.values(), ...changed].map((agency) => [agency.code, agency]));
  const endOf = (agency: WantedAgency | undefined) => agency?.periods.at(-1)?.validTo ?? null;
  const parentOf = (agency: WantedAgency) => periodAt(agency.periods, day)?.parentCode ?? '';
  const ending = changed.filter((agency) => endOf(agency) !== null && endOf(agency) !== endOf(record.get(agency.code)));
  const accounts = await countAccounts(
    transaction,
    ending.map((agency) => agency.code),
  );
  const staying = Map.groupBy(
    [...next.values()].filter((agency) => endOf(agency) === null),
    parentOf,
  );
  const rows = new Map(read.lines.map(({ code, row }) => [code, row]));
  const remarks: ImportFinding[] = [];
  const remark = (agency: WantedAgency, column: Column, code: string, detail: string): void => {
    const row = rows.get(agency.code) ?? 0;
    remarks.push({ row, cell: read.cellOf(row, column), code, detail });
  };
  for (const agency of ending) {
    const ends = `${agency.code} ends on ${endOf(agency)}`;
    const people = accounts.get(agency.code) ?? 0;
    const below = staying.get(agency.code)?.length ?? 0;
    if (people > 0) {
      const detail = `${ends}; accounts that are not retired remain: ${people}. Move or retire them.`;
      remark(agency, 'validTo', 'accounts_remain', detail);
    }
    if (below > 0) {
      const detail = `${ends}; agencies below it that do not end remain: ${below}. Move or close them.`;
      remark(agency, 'validTo', 'agencies_remain', detail);
    }
  }
  for (const agency of changed) {
    const parent = next.get(parentOf(agency));
    if (!parent || endOf(agency) !== null || statusAt(parent.periods, day) !== 'closed') continue;
    const detail = `${parent.code}, the agency above, closed on ${endOf(parent)}.`;
    remark(agency, 'parentCode', 'parent_closed', detail);
  }
  return remarks.sort((one, other) => one.row - other.row);
}

const mostRemarks = 1_000;

/** `row/14/D14`; an answer that lists them must not be many times the size of the file. */
function toFaults(refused: readonly ImportFinding[]): Fault[] {
  const listed = refused
    .slice(0, mostRemarks)
    .map(({ row, cell, code, detail }) => ({ pointer: `row/${row}/${cell}`, code, detail }));
  if (refused.length <= mostRemarks) return listed;
  const detail = `${refused.length - mostRemarks} more faults were found and are not listed.`;
  return [...listed, { pointer: '', code: 'more_faults', detail }];
}
