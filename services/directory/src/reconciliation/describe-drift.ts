/**
 * Looks closely at what seemed wrong: reads record and LDAP anew for a few subjects, and says for each what is wrong with it, when that
 * came about and under which DN. Nothing is wrong with what another job is just putting right.
 */
import type { Database } from '@congvu/database';
import type { Entry, Ldap } from '@congvu/ldap';
import { entryDn } from '../accounts/entry.ts';
import { type AgencyRow, findAgenciesByCode } from '../agencies/agency-store.ts';
import { agencyDn, wantedAgencyAttributes } from '../agencies/converge-agencies.ts';
import { comparedNames, type Difference, differencesOf } from './compare-entry.ts';
import { findDeletions, parseTime } from './deletions.ts';
import { type AgencyInScope, type ExpectedEntry, listExpected } from './expected-store.ts';
import { type Finding, keyOf, type Subject } from './finding.ts';

export interface DriftDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  /** The agencies that the run looks at, by code. */
  scope: ReadonlyMap<string, AgencyInScope>;
  /** Code of the agency at the top of the scope. */
  scopeCode: string;
  /** Whether that is the whole province. */
  whole: boolean;
}

const operationalNames = ['creatorsName', 'createTimestamp', 'modifiersName', 'modifyTimestamp'];

/** At most some hundreds of subjects. Those with which nothing is wrong have no finding. */
export async function describeDrift(dependencies: DriftDependencies, subjects: readonly Subject[]): Promise<Finding[]> {
  const [accounts, agencies, entries] = (['account', 'agency', 'entry'] as const).map((kind) =>
    subjects.filter((subject) => subject.startsWith(`${kind}:`)).map(keyOf),
  ) as [string[], string[], string[]];
  return [
    ...(await describeAgencies(dependencies, agencies)),
    ...(await describeAccounts(dependencies, accounts)),
    ...(await describeExtra(dependencies, entries)),
  ];
}

async function describeAccounts(dependencies: DriftDependencies, ids: readonly string[]): Promise<Finding[]> {
  if (ids.length === 0) return [];
  const { ldap, database, baseDn, scope } = dependencies;
  const base = `ou=people,${baseDn}`;
  // LDAP first: a change that comes between the two makes its account unsettled, and so nobody's drift.
  const entries = await findEntries(ldap, base, ids);
  const expected = await listExpected(database, ids);
  const findings: Finding[] = [];
  const missing: ExpectedEntry[] = [];
  for (const [id, wanted] of expected) {
    const { source } = wanted;
    const agency = scope.get(source.agencyCode);
    if (!agency || !isSettled(wanted)) continue;
    const entry = bestOf(entries.get(id) ?? [], entryDn(base, source));
    if (!entry) {
      if (source.entryVersion > 0) missing.push(wanted);
      continue;
    }
    const about = { subject: `account:${id}`, accountId: id, agencyId: agency.id } as const;
    for (const difference of differencesOf(base, wanted, entry)) {
      findings.push({ ...about, kind: 'changed', ...changeOf(entry, difference, dependencies) });
    }
  }
  const deletions = await findDeletions(
    ldap,
    missing.map(({ source }) => entryDn(base, source)),
  );
  for (const { source } of missing) {
    const dn = entryDn(base, source);
    findings.push({
      subject: `account:${source.id}`,
      kind: 'missing',
      accountId: source.id,
      agencyId: scope.get(source.agencyCode)?.id ?? null,
      dn,
      attribute: null,
      expected: [],
      actual: [],
      ...(deletions.get(dn.toLowerCase()) ?? unknown),
      detail:
        'The password went with the entry: once it is restored, the holder needs a code to reset it (passwords:reset), since the account counts as activated.',
    });
  }
  return findings;
}

/** An account whose own job has yet to write its entry is neither right nor wrong. */
export const isSettled = ({ source }: ExpectedEntry): boolean => source.entryVersion >= source.version;

async function findEntries(ldap: Ldap, base: string, ids: readonly string[]): Promise<Map<string, Entry[]>> {
  const found = await ldap.findBy(base, 'congvuAccountId', ids, [...comparedNames, ...operationalNames]);
  return Map.groupBy(found, (entry) => String(entry.attributes.congvuAccountId?.[0]).toLowerCase());
}

/** Of two entries with one id the rightly named one is the account's. */
const bestOf = (entries: readonly Entry[], dn: string): Entry | undefined =>
  entries.find((entry) => entry.dn.toLowerCase() === dn.toLowerCase()) ?? entries[0];

async function describeAgencies(dependencies: DriftDependencies, codes: readonly string[]): Promise<Finding[]> {
  if (codes.length === 0) return [];
  const { ldap, database, baseDn, scope, scopeCode } = dependencies;
  const base = `ou=agencies,${baseDn}`;
  const names = ['ou', ...Object.keys(wantedAgencyAttributes({} as AgencyRow)), ...operationalNames];
  const found = await ldap.findBy(base, 'ou', codes, names);
  const entries = new Map(found.map((entry) => [entry.dn.toLowerCase(), entry]));
  const findings: Finding[] = [];
  const missing: AgencyRow[] = [];
  for (const agency of await findAgenciesByCode(database, codes, scopeCode)) {
    if (!scope.get(agency.code)?.settled) continue;
    const entry = entries.get(agencyDn(base, agency.code).toLowerCase());
    if (!entry) missing.push(agency);
    else {
      for (const difference of agencyDifferences(agency, entry)) {
        const about = { subject: `agency:${agency.code}`, accountId: null, agencyId: agency.id } as const;
        findings.push({ ...about, kind: 'changed', ...changeOf(entry, difference, dependencies) });
      }
    }
  }
  const deletions = await findDeletions(
    ldap,
    missing.map(({ code }) => agencyDn(base, code)),
  );
  for (const agency of missing) {
    const dn = agencyDn(base, agency.code);
    findings.push({
      subject: `agency:${agency.code}`,
      kind: 'missing',
      accountId: null,
      agencyId: agency.id,
      dn,
      attribute: null,
      expected: [],
      actual: [],
      ...(deletions.get(dn.toLowerCase()) ?? unknown),
      detail: null,
    });
  }
  return findings;
}

export function agencyDifferences(agency: AgencyRow, entry: Entry): Difference[] {
  return Object.entries(wantedAgencyAttributes(agency)).flatMap(([attribute, values]) => {
    const expected = values.map(String);
    const actual = (entry.attributes[attribute] ?? []).map(String);
    const same = expected.length === actual.length && expected.every((value) => actual.includes(value));
    return same ? [] : [{ part: 'entry' as const, attribute, expected, actual }];
  });
}

/** Entries that nothing in the record stands for, as they are now. */
async function describeExtra(dependencies: DriftDependencies, dns: readonly string[]): Promise<Finding[]> {
  const { ldap, database, baseDn, scope, whole } = dependencies;
  const findings: Finding[] = [];
  for (const dn of dns) {
    const entry = await ldap.find(dn, ['congvuAccountId', 'congvuAgencyCode', ...operationalNames]);
    if (!entry) continue;
    const isAgency = dn.toLowerCase().endsWith(`,ou=agencies,${baseDn}`.toLowerCase());
    const detail = isAgency ? 'No agency of the record has this entry.' : await whyExtra(dependencies, entry);
    if (detail === undefined) continue;
    // In a part of the province only what claims to belong there is ours to judge.
    if (!whole && !scope.has(String(entry.attributes.congvuAgencyCode?.[0]))) continue;
    if (isAgency && (await findAgenciesByCode(database, [codeOf(dn)], dependencies.scopeCode)).length > 0) continue;
    const { creatorsName, createTimestamp, congvuAgencyCode } = entry.attributes;
    findings.push({
      subject: `entry:${dn}`,
      kind: 'extra',
      accountId: null,
      agencyId: isAgency ? null : (scope.get(String(congvuAgencyCode?.[0]))?.id ?? null),
      dn: entry.dn,
      attribute: null,
      expected: [],
      actual: [],
      lastModifiedBy: creatorsName?.[0] === undefined ? null : String(creatorsName[0]),
      lastModifiedAt: parseTime(createTimestamp?.[0]),
      detail,
    });
  }
  return findings;
}

const codeOf = (dn: string): string => dn.slice(dn.indexOf('=') + 1, dn.indexOf(','));

async function whyExtra({ database, ldap, baseDn }: DriftDependencies, entry: Entry): Promise<string | undefined> {
  const id = entry.attributes.congvuAccountId?.[0];
  if (id === undefined) return 'The entry bears no account id.';
  const account = (await listExpected(database, [String(id)])).get(String(id).toLowerCase());
  if (!account) return 'No account has the id that the entry bears.';
  const base = `ou=people,${baseDn}`;
  const own = bestOf(
    (await findEntries(ldap, base, [String(id)])).get(account.source.id) ?? [],
    entryDn(base, account.source),
  );
  return own && own.dn !== entry.dn
    ? `The account that the entry bears the id of has its entry at ${own.dn}.`
    : undefined;
}

const unknown = { lastModifiedBy: null, lastModifiedAt: null };

/** What an entry remembers of its last change is the last one only, which need not be the one that made the difference. */
function changeOf(entry: Entry, { attribute, expected, actual }: Difference, { baseDn }: DriftDependencies) {
  const by = entry.attributes.modifiersName?.[0];
  const modifier = by === undefined ? null : String(by);
  const ours = new RegExp(`^cn=(directory|mailbox|certificate),ou=services,${baseDn.replaceAll('.', '\\.')}$`, 'i');
  const detail =
    modifier === null
      ? null
      : ours.test(modifier)
        ? 'A service of the platform wrote to the entry last; who changed this attribute before, LDAP no longer knows.'
        : modifier.toLowerCase() === entry.dn.toLowerCase()
          ? 'The holder set a password last; who changed this attribute before, LDAP no longer knows.'
          : null;
  return {
    dn: entry.dn,
    attribute,
    expected,
    actual,
    lastModifiedBy: modifier,
    lastModifiedAt: parseTime(entry.attributes.modifyTimestamp?.[0]),
    detail,
  };
}
