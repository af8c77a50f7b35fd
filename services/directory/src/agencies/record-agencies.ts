/**
 * Writes agencies with their periods, the audit events of what changed, and the wish that LDAP follow, in the caller's transaction.
 */
import { randomUUID } from 'node:crypto';
import { addJobs, type Transaction } from '@congvu/database';
import { agencyShortNameCandidates, formatLegacyAgencyCode, searchKey } from '@congvu/vietnamese';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { type Period, periodAt } from './agency-periods.ts';
import { type AgencyRecord, saveAgencies } from './agency-store.ts';

/** An agency as it is to be; a new one may be without id and short name. */
export type WantedAgency = Omit<AgencyRecord, 'id' | 'shortName'> & Partial<Pick<AgencyRecord, 'id' | 'shortName'>>;

export async function recordAgencies(
  transaction: Transaction,
  wanted: readonly WantedAgency[],
  record: ReadonlyMap<string, AgencyRecord>,
  actor: Actor,
  today: string,
): Promise<void> {
  if (wanted.length === 0) return;
  const named = withShortNames(wanted, record, today);
  const ids = new Map([...record.values(), ...named].map(({ code, id }) => [code, id]));
  const idOf = (code: string): string => {
    const id = ids.get(code);
    if (!id) throw new Error(`the agency ${code} was not checked before it was written`);
    return id;
  };
  await saveAgencies(transaction, named, idOf, searchKeyOf);
  await insertEvents(
    transaction,
    named.map((agency) => {
      const present = record.get(agency.code);
      const [before, after] = [present && describe(present, today), describe(agency, today)];
      return {
        actor,
        action: present ? 'agency.changed' : 'agency.added',
        subjectType: 'agency',
        subjectId: agency.code,
        agencyId: agency.id,
        before: before ? difference(before, after) : null,
        after: before ? difference(after, before) : after,
      };
    }),
  );
  await queueAgencies(
    transaction,
    named.map(({ id }) => id),
  );
}

/**
 * Asks LDAP to follow: one waiting job for all agencies takes every one whose entry is behind. The entries of people in those that
 * were renamed or moved follow by a trigger on the table. The agencies' mailing lists follow them too.
 */
export async function queueAgencies(transaction: Transaction, agencyIds: readonly string[]): Promise<void> {
  await addJobs(transaction, 'directory', [{ task: 'converge-agencies', payload: {}, key: 'agencies' }]);
  await transaction.raw('select mailbox.request_agency_lists(?::uuid[])', [[...agencyIds]]);
}

/** By any part of the name, of the code in either form, or of the short name. */
const searchKeyOf = (agency: AgencyRecord, period: Period): string =>
  searchKey([period.name, agency.code, formatLegacyAgencyCode(agency.code), agency.shortName].join(' '));

/** A short name, once given, stays, because addresses are made of it. Parents are named before their children. */
function withShortNames(
  wanted: readonly WantedAgency[],
  record: ReadonlyMap<string, AgencyRecord>,
  today: string,
): AgencyRecord[] {
  const byCode = new Map(wanted.map((agency) => [agency.code, agency]));
  const named = new Map<string, string>();
  for (const { code, shortName } of [...record.values(), ...wanted]) if (shortName) named.set(code, shortName);
  const taken = new Set(named.values());
  const name = ({ code, periods }: WantedAgency): void => {
    const facts = periodAt(periods, today);
    if (!facts) throw new Error(`the agency ${code} has no period`);
    const above =
      facts.parentCode === null ? undefined : (byCode.get(facts.parentCode) ?? record.get(facts.parentCode));
    const level = above && periodAt(above.periods, today)?.level;
    const shortName = above && named.get(above.code);
    const parent = level && shortName ? { level, shortName } : undefined;
    for (const candidate of agencyShortNameCandidates(facts.name, facts.level, parent)) {
      if (taken.has(candidate)) continue;
      taken.add(candidate);
      named.set(code, candidate);
      return;
    }
  };
  for (const agency of wanted) {
    const line: WantedAgency[] = [];
    for (let at: WantedAgency | undefined = agency; at && !named.has(at.code) && !line.includes(at); ) {
      line.push(at);
      at = byCode.get(periodAt(at.periods, today)?.parentCode ?? '');
    }
    for (const unnamed of line.reverse()) name(unnamed);
  }
  return wanted.map((agency) => ({
    ...agency,
    id: agency.id ?? randomUUID(),
    shortName: named.get(agency.code) as string,
  }));
}

function describe(agency: AgencyRecord, today: string): Record<string, unknown> {
  const { code, shortName, gsoCode, successorCode, periods } = agency;
  const { validFrom: _, validTo: __, ...facts } = periodAt(periods, today) as Period;
  const life = { validFrom: periods[0]?.validFrom ?? null, validTo: periods.at(-1)?.validTo ?? null };
  return { code, ...facts, shortName, gsoCode, successorCode, ...life, periods };
}

const difference = (one: Record<string, unknown>, other: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(one).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(other[name])),
  );
