/**
 * Makes the mailbox of an account what the account says: the record, the mail attributes of the LDAP entry, the store in
 * Dovecot, and for a new one the welcome message. Harmless to repeat. After writing to LDAP it looks whether the account
 * changed meanwhile and if so begins again, so that of two jobs that overlap the older can never have the last word.
 */
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { anyOf, diffAttributes, type Ldap } from '@congvu/ldap';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { listWaitingFor, noticeJob } from '../notices/notice-store.ts';
import {
  findMailboxForUpdate,
  findSource,
  insertMailbox,
  type MailboxRow,
  type MailboxSource,
  markProvisioned,
  updateMailbox,
} from './mailbox-store.ts';

export interface MailboxDependencies {
  database: Database;
  ldap: Ldap;
  doveadm: Doveadm;
  baseDn: string;
  quotaBytes: number;
}

/** Made at once, so that every mail program finds them (RFC 6154). */
const folders = ['INBOX', 'Drafts', 'Sent', 'Trash', 'Junk'] as const;

export async function convergeMailbox(dependencies: MailboxDependencies, accountId: string): Promise<void> {
  const { database, ldap, doveadm, baseDn } = dependencies;
  for (;;) {
    // 1. What should be. Before the LDAP entry is there is nothing to do: its making asks for this again.
    const source = await findSource(database, accountId);
    if (!source || source.entryVersion === 0) return;

    // 2. The record, with its audit event.
    const mailbox = await database.transaction((transaction) =>
      recordState(transaction, source, dependencies.quotaBytes),
    );

    // 3. LDAP, which Postfix and Dovecot read.
    await convergeMailAttributes(ldap, baseDn, source, mailbox);

    // 4. Dovecot: the store of a new mailbox, no session of one that is not active.
    if (mailbox.state === 'active' && !mailbox.provisioned_at) await doveadm.createFolders(mailbox.address, folders);
    if (mailbox.state !== 'active') await doveadm.kick(mailbox.address);

    // 5. Say so, and let the notices go that waited for this mailbox.
    if (mailbox.state === 'active') {
      await database.transaction((transaction) => recordProvisioned(transaction, source));
      // After that is committed: a notice that was put on record meanwhile either sees the mailbox or is seen here.
      const waiting = await listWaitingFor(database, source.address);
      await addJobs(
        database,
        'mailbox',
        waiting.map((notice) => noticeJob(notice.kind, notice.subject_id)),
      );
    }
    const now = await findSource(database, accountId);
    if (!now || now.version === source.version) return;
  }
}

function wantedState(source: MailboxSource): MailboxRow['state'] {
  if (source.state === 'active') return 'active';
  return source.state === 'retired' ? 'retained' : 'suspended';
}

async function recordState(transaction: Transaction, source: MailboxSource, quotaBytes: number): Promise<MailboxRow> {
  const { id, address } = source;
  const state = wantedState(source);
  const isNew = await insertMailbox(transaction, { accountId: id, address, state, quotaBytes });
  const row = (await findMailboxForUpdate(transaction, id)) as MailboxRow;
  if (isNew) {
    await recordEvent(transaction, source, 'mailbox.created', null, { address, state, quotaBytes });
    return row;
  }
  if (row.state === state && row.address === address) return row;
  await updateMailbox(transaction, id, { address, state });
  const before = { address: row.address, state: row.state };
  await recordEvent(transaction, source, 'mailbox.changed', before, { address, state });
  return { ...row, address, state };
}

async function recordEvent(
  transaction: Transaction,
  source: MailboxSource,
  action: string,
  before: object | null,
  after: object,
) {
  await transaction.raw('select directory.record_event(?, ?, null, ?, ?, ?, ?, ?, ?, ?)', [
    'system',
    'mailbox',
    action,
    'account',
    source.id,
    source.agencyId,
    source.requestId,
    before && JSON.stringify(before),
    JSON.stringify(after),
  ]);
}

async function convergeMailAttributes(
  ldap: Ldap,
  baseDn: string,
  source: MailboxSource,
  mailbox: MailboxRow,
): Promise<void> {
  const wanted = {
    mail: [mailbox.address],
    congvuMailStatus: [mailbox.state],
    congvuMailQuotaBytes: [mailbox.quota_bytes],
  };
  const [entry] = await ldap.search(`ou=people,${baseDn}`, {
    scope: 'one',
    filter: anyOf('congvuAccountId', [source.id]),
    attributes: Object.keys(wanted),
  });
  if (!entry) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'entry_missing',
      detail: 'The LDAP entry of the account, which was made before, is not there; reconcile the directory.',
    });
  }
  const changes = diffAttributes(entry.attributes, wanted);
  if (changes.length > 0) await ldap.modify(entry.dn, changes);
}

async function recordProvisioned(transaction: Transaction, source: MailboxSource): Promise<void> {
  if (!(await markProvisioned(transaction, source.id))) return;
  await transaction.raw('select directory.report_provisioned(?, null)', [source.id]);
  if (source.kind === 'person') await addJobs(transaction, 'mailbox', [noticeJob('welcome', source.id)]);
}
