/**
 * Deletes the stores of mailboxes whose retention is over, and never one before: the day is compared under the row's lock, and the
 * account must still be retired then. First the record says that it is being purged, then LDAP, then the store is deleted, then the record
 * says that it is gone; killed anywhere, the next run goes on from there. What was purged does not come back.
 */
import type { Database } from '@congvu/database';
import { EqualityFilter } from '@congvu/ldap';
import { type AuditEvent, recordEvents, systemActor } from '../audit/audit-event.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import {
  changeMailboxRow,
  findAgencyId,
  findSource,
  isOverdue,
  listOverdue,
  lockMailboxes,
  type MailboxRow,
} from './mailbox-store.ts';

const batchSize = 100;
const noId = '00000000-0000-0000-0000-000000000000';

/** One that cannot be purged holds up no other. */
export async function purgeMailboxes(dependencies: MailboxDependencies, signal: AbortSignal): Promise<void> {
  let failure: unknown;
  for (let after = noId; ; ) {
    const ids = await listOverdue(dependencies.database, after, batchSize);
    for (const id of ids) {
      signal.throwIfAborted();
      await purgeMailbox(dependencies, id).catch((error: unknown) => {
        failure ??= error;
      });
      after = id;
    }
    if (ids.length < batchSize) break;
  }
  if (failure) throw failure;
}

async function purgeMailbox({ database, ldap, doveadm, baseDn }: MailboxDependencies, id: string): Promise<void> {
  // 1. On record first.
  const mailbox = await beginPurge(database, id);
  if (!mailbox) return;

  // 2. LDAP says so: whatever else looks there finds no mailbox any more.
  const [entry] = await ldap.search(baseDn, {
    scope: 'sub',
    filter: new EqualityFilter({ attribute: 'congvuAccountId', value: id }),
    attributes: ['congvuMailStatus'],
  });
  if (entry && entry.attributes.congvuMailStatus?.[0] !== 'purged') {
    await ldap.modify(entry.dn, [{ attribute: 'congvuMailStatus', operation: 'replace', values: ['purged'] }]);
  }

  // 3. The store.
  await doveadm.kick(mailbox.address);
  await doveadm.removeStore(mailbox.address, id);

  // 4. Gone.
  await database.transaction(async (transaction) => {
    const [row] = await lockMailboxes(transaction, [id]);
    if (row?.state !== 'purging') return;
    await changeMailboxRow(transaction, id, { state: 'purged' });
    const agencyId = row.agency_id ?? (await findAgencyId(transaction, id));
    await recordEvents(transaction, [eventOf(row, agencyId, 'mailbox.purged', 'purged')]);
  });
}

/** Undefined when it is not to be purged after all. */
const beginPurge = (database: Database, id: string): Promise<MailboxRow | undefined> =>
  database.transaction(async (transaction) => {
    const [row] = await lockMailboxes(transaction, [id]);
    if (!row || row.state === 'purging') return row;
    const account = row.agency_id === null ? await findSource(transaction, id) : undefined;
    const isKept =
      account !== undefined && (account.state !== 'retired' || account.retainedUntil !== row.retained_until);
    if (isKept || !(await isOverdue(transaction, id))) return undefined;
    await changeMailboxRow(transaction, id, { state: 'purging', mail_status: 'purged' });
    const agencyId = row.agency_id ?? account?.agencyId ?? null;
    await recordEvents(transaction, [eventOf(row, agencyId, 'mailbox.purge_started', 'purging')]);
    return { ...row, state: 'purging', mail_status: 'purged' };
  });

const eventOf = (
  row: MailboxRow,
  agencyId: string | null,
  action: AuditEvent['action'],
  state: MailboxRow['state'],
): AuditEvent => ({
  actor: systemActor,
  action,
  subjectType: row.agency_id === null ? 'account' : 'mailbox',
  subjectId: row.account_id,
  agencyId,
  before: { state: row.state, retainedUntil: row.retained_until },
  after: { state },
});
