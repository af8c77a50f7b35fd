/**
 * Quota classes, and which mailboxes have which: the platform's own, so that only an administrator of the whole province changes them. What
 * follows for mailboxes is found and written in batches by a job; one whose quota shrinks below what it holds keeps it, and takes nothing new.
 */
import type { QuotaAssignment } from '@congvu/contracts';
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import { parseAgencyCode } from '@congvu/vietnamese';
import { findOpenAgency } from '../agencies/agency-store.ts';
import { requireRoot } from '../agencies/require-root.ts';
import { type Actor, type AuditEvent, recordEvents } from '../audit/audit-event.ts';
import { conflict } from './change-mailbox.ts';
import { listKinds } from './mailbox-store.ts';
import { queueMailboxes } from './queue-mailboxes.ts';
import {
  deleteQuotaClass,
  findQuotaClass,
  insertQuotaClass,
  isClassAssigned,
  listAssignments,
  listOtherwiseSized,
  listQuotaClasses,
  lockQuotaClass,
  replaceAssignments,
  updateQuotaClass,
} from './quota-store.ts';

export async function createQuotaClass(
  database: Database,
  input: { code: string; name: string; quotaBytes: number },
  actor: Actor,
): Promise<void> {
  await database.transaction(async (transaction) => {
    await requireRoot(transaction, actor);
    if (!(await insertQuotaClass(transaction, input))) {
      throw conflict('quota_class_exists', 'There is a quota class of that code; change it, or choose another code.');
    }
    await record(transaction, 'quota_class.created', input.code, { after: input }, actor);
  });
}

export async function changeQuotaClass(
  database: Database,
  { code, version }: { code: string; version: number | undefined },
  change: { name?: string | undefined; quotaBytes?: number | undefined },
  actor: Actor,
): Promise<void> {
  await database.transaction(async (transaction) => {
    await requireRoot(transaction, actor);
    const before = await requireClass(transaction, code);
    if (version !== undefined && version !== before.version) {
      throw new ServiceError({
        kind: 'stale',
        code: 'stale_version',
        detail: `The quota class is now at version ${before.version}; read it again before changing it.`,
      });
    }
    const after = { name: change.name ?? before.name, quotaBytes: change.quotaBytes ?? before.quotaBytes };
    await updateQuotaClass(transaction, code, after);
    const was = { name: before.name, quotaBytes: before.quotaBytes };
    await record(transaction, 'quota_class.changed', code, { before: was, after }, actor);
    if (after.quotaBytes !== before.quotaBytes) await queueQuotas(transaction);
  });
}

export async function removeQuotaClass(database: Database, code: string, actor: Actor): Promise<void> {
  await database.transaction(async (transaction) => {
    await requireRoot(transaction, actor);
    const { name, quotaBytes, mailboxes } = await requireClass(transaction, code);
    if (mailboxes > 0 || (await isClassAssigned(transaction, code))) {
      throw conflict(
        'quota_class_in_use',
        `${mailboxes} mailboxes have this class, or it is assigned; assign another first.`,
      );
    }
    await deleteQuotaClass(transaction, code);
    await record(transaction, 'quota_class.removed', code, { before: { name, quotaBytes } }, actor);
  });
}

/** All of them anew. */
export async function assignQuotas(
  database: Database,
  assignments: readonly QuotaAssignment[],
  actor: Actor,
): Promise<void> {
  await database.transaction(async (transaction) => {
    await requireRoot(transaction, actor);
    const known = new Set((await listQuotaClasses(transaction)).map(({ code }) => code));
    const faults: Fault[] = [];
    const seen = new Set<string>();
    const rows = [];
    for (const [index, { quotaClass, kind, title, agencyCode }] of assignments.entries()) {
      const fault = (field: string, code: string, detail: string) =>
        faults.push({ pointer: `/${index}${field}`, code, detail });
      if (!known.has(quotaClass))
        fault('/quotaClass', 'quota_class_not_found', 'There is no quota class of that code.');
      const code = agencyCode === undefined ? undefined : parseAgencyCode(agencyCode);
      const agency = code?.ok ? await findOpenAgency(transaction, code.code, actor.agencyCode) : undefined;
      if (code && !agency) fault('/agencyCode', 'agency_not_found', 'There is no agency of that code, still in being.');
      const row = { class_code: quotaClass, kind: kind ?? null, title: title ?? null, agency_id: agency?.id ?? null };
      const whom = JSON.stringify([row.kind, row.title?.toLowerCase(), agencyCode && (agency?.id ?? index)]);
      if (seen.has(whom)) fault('', 'duplicate', 'The same mailboxes are named by an assignment above.');
      seen.add(whom);
      rows.push(row);
    }
    if (faults.length > 0) throw invalid('request_invalid', faults);
    const before = await listAssignments(transaction);
    await replaceAssignments(transaction, rows);
    await record(transaction, 'quota_assignments.changed', 'all', { before, after: rows }, actor);
    await queueQuotas(transaction);
  });
}

const queueQuotas = (transaction: Transaction): Promise<void> =>
  addJobs(transaction, 'mailbox', [{ task: 'apply-quotas', payload: {}, key: 'apply-quotas' }]);

/** The job: every mailbox whose quota is another by now is converged. */
export async function applyQuotas({ database, quotaBytes }: { database: Database; quotaBytes: number }): Promise<void> {
  const ids = await listOtherwiseSized(database, quotaBytes);
  for (let start = 0; start < ids.length; start += 5_000) {
    const some = await listKinds(database, ids.slice(start, start + 5_000));
    await database.transaction((transaction) => queueMailboxes(transaction, some));
  }
}

async function requireClass(transaction: Transaction, code: string) {
  await lockQuotaClass(transaction, code);
  const found = await findQuotaClass(transaction, code);
  if (found) return found;
  throw new ServiceError({
    kind: 'not_found',
    code: 'quota_class_not_found',
    detail: 'There is no quota class of that code.',
  });
}

const record = (
  transaction: Transaction,
  action: AuditEvent['action'],
  subjectId: string,
  change: Pick<AuditEvent, 'before' | 'after'>,
  actor: Actor,
): Promise<void> =>
  recordEvents(transaction, [{ actor, action, subjectType: 'quota_class', subjectId, agencyId: null, ...change }]);
