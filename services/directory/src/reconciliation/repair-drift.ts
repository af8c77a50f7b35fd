/**
 * Repairs what a run found, and nothing else: each subject is looked at again before its turn, what was put right meanwhile is left
 * alone, and what drifted further than the plan says waits for another run. The writing is done by the same converging that follows every
 * change, here and in the other services; then it is looked whether that helped. May be killed at any line and taken up again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { isRefusal } from '@congvu/ldap';
import { convergeEntries } from '../accounts/converge-entry.ts';
import { findAgenciesByCode } from '../agencies/agency-store.ts';
import { convergeAgency } from '../agencies/converge-agencies.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { type Part, partOf } from './compare-entry.ts';
import { type DriftDependencies, describeDrift } from './describe-drift.ts';
import { everyKind, type Finding, keyOf, repairedKinds, type Subject } from './finding.ts';
import { countSubjects, type FindingRow, listSubjects, markFindings } from './finding-store.ts';

export interface Repair extends DriftDependencies {
  runId: string;
  removeExtra: boolean;
  actor: Actor;
  /** So long nothing may come of it before what the other services were asked for counts as failed. */
  patienceMs: number;
  /** Called after every page; throws when the run is to stop. */
  progress: (done: number, total: number) => Promise<void>;
}

const subjectsAtOnce = 200;

export async function repairDrift(repair: Repair): Promise<void> {
  const { database } = repair;
  const total = await countOpen(repair);
  const done = async () => repair.progress(total - (await countOpen(repair)), total);
  await done();

  // 1. What a worker that died was about to do, or had done.
  for await (const page of pages(repair, 'repairing')) await converge(repair, page);

  // 2. The plan, page by page: look again, say what will be done, do it.
  for (const kind of repairedKinds(repair.removeExtra)) {
    for await (const page of pages(repair, 'found', [kind])) {
      const chosen = await choose(repair, page);
      await database.transaction(async (transaction) => {
        await markFindings(transaction, idsOf(chosen.values()), 'repairing');
        await recordRepairs(transaction, repair, chosen);
      });
      await converge(repair, chosen);
      await done();
    }
  }

  // 3. Whether it helped. The other services work at their own pace.
  let open = await verify(repair);
  for (let idleSince = Date.now(); open > 0 && Date.now() - idleSince < repair.patienceMs; ) {
    await sleep(500);
    await done();
    const before = open;
    open = await verify(repair);
    if (open < before) idleSince = Date.now();
  }
  for await (const page of pages(repair, 'repairing')) {
    await markFindings(
      database,
      idsOf(page.values()),
      'failed',
      'It was asked for and has not come about yet; see the log of the service whose attribute it is.',
    );
  }
  await repair.progress(total, total);
}

const countOpen = async ({ database, runId, removeExtra }: Repair): Promise<number> =>
  (await countSubjects(database, runId, { state: 'found', kinds: repairedKinds(removeExtra) })) +
  (await countSubjects(database, runId, { state: 'repairing', kinds: everyKind }));

type Page = Map<Subject, FindingRow[]>;
const idsOf = (findings: Iterable<FindingRow[]>): string[] => [...findings].flat().map(({ id }) => id);

async function* pages(
  repair: Repair,
  state: 'found' | 'repairing',
  kinds: readonly Finding['kind'][] = everyKind,
): AsyncGenerator<Page> {
  for (let after = ''; ; ) {
    const page = await listSubjects(repair.database, repair.runId, { state, kinds }, after, subjectsAtOnce);
    const last = [...page.keys()].at(-1);
    if (last === undefined) return;
    yield page;
    after = last;
  }
}

/** Those of a page that still are as the plan says; the others are marked. */
async function choose(repair: Repair, page: Page): Promise<Page> {
  const now = Map.groupBy(await describeDrift(repair, [...page.keys()]), (finding) => finding.subject);
  const chosen: Page = new Map();
  for (const [subject, planned] of page) {
    const current = now.get(subject) ?? [];
    const known = new Set(planned.map(signatureOf));
    if (current.some((finding) => !known.has(signatureOf(finding)))) {
      const failure =
        'It changed again after this was found, so that it is not what the plan says; run a new reconciliation.';
      await markFindings(repair.database, idsOf([planned]), 'failed', failure);
      continue;
    }
    const still = new Set(current.map(signatureOf));
    const held = planned.filter((finding) => still.has(signatureOf(finding)));
    const gone = planned.filter((finding) => !still.has(signatureOf(finding)));
    await markFindings(repair.database, idsOf([gone]), 'obsolete');
    if (held.length > 0) chosen.set(subject, held);
  }
  return chosen;
}

/** What is wrong, not what would be right: the record may have gone on, and repair follows the record. */
const signatureOf = ({ kind, attribute, actual }: Finding): string => JSON.stringify([kind, attribute, actual]);

/** One event an account, agency or entry, committed before LDAP is touched. */
async function recordRepairs(transaction: Transaction, { actor, runId }: Repair, page: Page): Promise<void> {
  await insertEvents(
    transaction,
    [...page].map(([subject, findings]) => {
      const [{ kind, dn, agencyId, lastModifiedBy, lastModifiedAt }] = findings as [FindingRow];
      const verb = ({ missing: 'entry_restored', extra: 'entry_removed', changed: 'entry_repaired' } as const)[kind];
      const values = (side: 'expected' | 'actual') =>
        Object.fromEntries(
          findings.flatMap((finding) => (finding.attribute ? [[finding.attribute, finding[side]]] : [])),
        );
      return {
        actor,
        action: `${subject.startsWith('agency:') ? 'agency' : 'account'}.${verb}` as const,
        subjectType: subject.slice(0, subject.indexOf(':')),
        subjectId: keyOf(subject),
        agencyId,
        before: { dn, ...(kind === 'changed' ? values('actual') : {}), lastModifiedBy, lastModifiedAt },
        after: {
          reconciliationId: runId,
          ...(kind === 'changed' ? values('expected') : {}),
          ...(kind === 'missing' && subject.startsWith('account:') ? { passwordLost: true } : {}),
        },
      };
    }),
  );
}

/** Asks for everything that makes these subjects right. Harmless to repeat. */
async function converge(repair: Repair, page: Page): Promise<void> {
  const { database, ldap, baseDn } = repair;
  const accounts = new Map<string, Set<Part>>();
  for (const [subject, findings] of page) {
    if (subject.startsWith('account:')) accounts.set(keyOf(subject), partsOf(findings));
    else await singly(repair, findings, () => convergeOther(repair, subject));
  }
  const of = (part: Part): string[] => [...accounts].filter(([, parts]) => parts.has(part)).map(([id]) => id);
  const own = of('entry');
  if (own.length === 1) {
    const findings = page.get(`account:${own[0]}`) ?? [];
    await singly(repair, findings, () => convergeEntries({ database, ldap, baseDn }, own));
  } else if (own.length > 1) await convergeEntries({ database, ldap, baseDn }, own);
  // The others' attributes: their own jobs, queued together.
  await database.transaction(async (transaction) => {
    await request(transaction, 'mailbox', of('mailbox'));
    await request(transaction, 'certificate', of('certificate'));
  });
}

const request = async (transaction: Transaction, service: 'mailbox' | 'certificate', ids: readonly string[]) => {
  if (ids.length > 0) await transaction.raw(`select ${service}.request_convergence(?::uuid[])`, [[...ids]]);
};

const partsOf = (findings: readonly Finding[]): Set<Part> =>
  new Set(
    findings.flatMap(({ kind, attribute }): Part[] =>
      kind === 'missing' ? ['entry', 'mailbox', 'certificate'] : [partOf(attribute ?? '')],
    ),
  );

async function convergeOther(repair: Repair, subject: Subject): Promise<void> {
  const { database, ldap, baseDn, scopeCode } = repair;
  if (subject.startsWith('entry:')) {
    await ldap.remove(keyOf(subject));
    return;
  }
  const [agency] = await findAgenciesByCode(database, [keyOf(subject)], scopeCode);
  if (agency) await convergeAgency(ldap, agency, `ou=agencies,${baseDn}`);
}

/** One that LDAP refuses fails alone; LDAP that does not answer ends the run. */
async function singly(repair: Repair, findings: readonly FindingRow[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const failure =
      error instanceof ServiceError && error.kind !== 'unavailable'
        ? error.detail
        : isRefusal(error) && `LDAP refuses it: ${error.message}`;
    if (!failure) throw error;
    await markFindings(repair.database, idsOf([[...findings]]), 'failed', failure);
  }
}

/** Marks what is as it should be by now; returns how many subjects are not. */
async function verify(repair: Repair): Promise<number> {
  let open = 0;
  for await (const page of pages(repair, 'repairing')) {
    const wrong = new Set((await describeDrift(repair, [...page.keys()])).map(({ subject }) => subject));
    const right = [...page].filter(([subject]) => !wrong.has(subject)).map(([, findings]) => findings);
    await markFindings(repair.database, idsOf(right), 'repaired');
    open += wrong.size;
  }
  return open;
}
