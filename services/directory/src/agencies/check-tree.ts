/**
 * Whether the agencies, as they would be after a change, are still one tree on every day and the change keeps to the subtree of who
 * makes it: parents and successors exist, no agency is ever below itself or taken over by itself, nothing is written, drawn in
 * or moved out beyond the own subtree. Pure.
 */
import { periodAt } from './agency-periods.ts';
import type { AgencyRecord } from './agency-store.ts';

/** One statement about an agency: a row of a file, or a single change. */
export interface TreeLine {
  row: number;
  code: string;
  level: string;
  parentCode: string | null;
}

export interface TreeFault {
  row: number;
  field: 'code' | 'parentCode' | 'successorCode' | 'mailDomain';
  code: string;
  detail: string;
}

export interface TreeContext {
  /** The record as it is. */
  record: ReadonlyMap<string, AgencyRecord>;
  /** The record as it would be. */
  next: ReadonlyMap<string, AgencyRecord>;
  /** The agency whose subtree may be changed, and the codes in that subtree. */
  scope: string;
  inside: ReadonlySet<string>;
}

export function checkTree(lines: readonly TreeLine[], context: TreeContext): TreeFault[] {
  const { record, next } = context;
  const below = agenciesBelowThemselves(lines, context);
  const takenOver = cycleMembers(next.keys(), (code) => next.get(code)?.successorCode ?? null);
  const isOutside = outsiders(lines, context);
  const foreignDomain = foreignDomains(context);
  return lines.flatMap((line) => {
    const { row, code, parentCode } = line;
    const faults: TreeFault[] = [];
    const fault = (field: TreeFault['field'], kind: string, detail: string): void => {
      faults.push({ row, field, code: kind, detail });
    };
    // 1. The parent.
    if ((line.level === 'province') !== (parentCode === null)) {
      fault('parentCode', 'parent_level', 'A province has no parent, and every other agency has one.');
    } else if (parentCode !== null && !next.has(parentCode)) {
      const detail = `There is no agency ${parentCode}, neither in the file nor in the record.`;
      fault('parentCode', 'parent_not_found', detail);
    } else if (below.has(code)) fault('parentCode', 'cycle', `${code} would be an agency below itself.`);
    // 2. The successor, where it is newly named.
    const successor = next.get(code)?.successorCode ?? null;
    if (successor !== null && successor !== record.get(code)?.successorCode) {
      if (successor === code) fault('successorCode', 'successor_cycle', 'An agency cannot be its own successor.');
      else if (takenOver.has(code)) {
        fault('successorCode', 'successor_cycle', `${code} would in the end be taken over by itself.`);
      } else if (record.has(successor) ? !context.inside.has(successor) : !next.has(successor)) {
        const detail = `There is no agency ${successor} at or below yours, neither in the file nor in the record.`;
        fault('successorCode', 'successor_not_found', detail);
      }
    }
    // 3. Mail goes to the province's own domains.
    const domain = foreignDomain(code);
    if (domain !== undefined) {
      const detail = `${domain} is neither the province's mail domain nor below it; nobody could receive mail there.`;
      fault('mailDomain', 'mail_domain_foreign', detail);
    }
    // 4. The reach of who changes it.
    const field = outOfReach(line, context, isOutside);
    if (field) {
      const detail = `${code} does not lie below ${context.scope}, the agency you act for, or would not any more.`;
      fault(field, 'outside_scope', detail);
    }
    return faults;
  });
}

/** Of an agency, the first mail domain that it would newly have and that the province does not own. */
function foreignDomains({ record, next }: TreeContext): (code: string) => string | undefined {
  const own = [...next.values()]
    .flatMap(({ periods }) => periods)
    .flatMap(({ level, mailDomain }) => (level === 'province' ? mailDomain : []));
  return (code) => {
    const known = new Set(record.get(code)?.periods.map(({ mailDomain }) => mailDomain));
    return next
      .get(code)
      ?.periods.filter(({ level, mailDomain }) => level !== 'province' && !known.has(mailDomain))
      .map(({ mailDomain }) => mailDomain)
      .find((domain) => own.length > 0 && !own.some((one) => domain === one || domain.endsWith(`.${one}`)));
  };
}

/** The tree is another one on every day on which agencies change their parents, and only through them can a circle close then. */
function agenciesBelowThemselves(lines: readonly TreeLine[], { record, next }: TreeContext): Set<string> {
  const parents = (agency: AgencyRecord | undefined) =>
    agency?.periods.map(({ validFrom, parentCode }) => `${validFrom} ${parentCode}`).join();
  if (lines.every(({ code }) => parents(record.get(code)) === parents(next.get(code)))) return new Set();
  const moves = [...next.values()].flatMap(({ code, periods }) =>
    periods
      .filter((period, index) => index > 0 && period.parentCode !== periods[index - 1]?.parentCode)
      .map((period) => ({ code, day: period.validFrom ?? '' })),
  );
  const found = new Set<string>();
  const look = (codes: Iterable<string>, day: string): void => {
    const parentOn = (code: string) => periodAt(next.get(code)?.periods ?? [], day)?.parentCode ?? null;
    for (const code of cycleMembers(codes, parentOn)) found.add(code);
  };
  look(next.keys(), ''); // before the first of all moves
  for (const [day, moved] of Map.groupBy(moves, (move) => move.day)) {
    look(
      moved.map((move) => move.code),
      day,
    );
  }
  return found;
}

/** The codes from which following `step` leads back to themselves. */
function cycleMembers(codes: Iterable<string>, step: (code: string) => string | null): Set<string> {
  const done = new Set<string>();
  const members = new Set<string>();
  for (const start of codes) {
    const path: string[] = [];
    let at: string | null = start;
    while (at !== null && !done.has(at)) {
      done.add(at);
      path.push(at);
      at = step(at);
    }
    const begin = at === null ? -1 : path.indexOf(at);
    if (begin !== -1) for (const code of path.slice(begin)) members.add(code);
  }
  return members;
}

/** The column that reaches beyond the subtree, if any. Only the agency at the top makes itself, by the first import of all. */
function outOfReach(
  { code, level, parentCode }: TreeLine,
  { record, inside, scope }: TreeContext,
  isOutside: (parentCode: string | null) => boolean,
): 'code' | 'parentCode' | undefined {
  const present = record.get(code);
  if (present && !inside.has(code)) return 'code';
  if (code === scope) {
    const parents = present?.periods.map((period) => period.parentCode) ?? [null];
    return parents.includes(parentCode) ? undefined : 'parentCode';
  }
  // A missing parent is a fault of the tree alone.
  if (level !== 'province' && parentCode === null) return undefined;
  return isOutside(parentCode) ? (present ? 'parentCode' : 'code') : undefined;
}

/** Whether an agency lies outside the subtree, or would: itself, or a new agency above it. What does not exist lies nowhere. */
function outsiders(lines: readonly TreeLine[], { record, inside, scope }: TreeContext) {
  const isKnownOutside = (code: string | null): boolean =>
    code === null || (record.has(code) && !inside.has(code) && code !== scope);
  const fresh = lines.filter(({ code }) => !record.has(code) && code !== scope);
  const children = Map.groupBy(fresh, ({ parentCode }) => parentCode);
  const outside = new Set<string>();
  const queue = fresh.filter(({ parentCode }) => isKnownOutside(parentCode));
  for (let line = queue.pop(); line; line = queue.pop()) {
    if (outside.has(line.code)) continue;
    outside.add(line.code);
    queue.push(...(children.get(line.code) ?? []));
  }
  return (code: string | null): boolean => isKnownOutside(code) || (code !== null && outside.has(code));
}
