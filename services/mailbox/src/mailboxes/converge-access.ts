/**
 * Makes Dovecot's rights on a mailbox what the record says: those of active accounts on an active mailbox, by the address under which
 * they log in. Whoever lost a right loses the sessions that were opened with it. Harmless to repeat; reads the rights again at the end.
 */
import type { MailboxRight } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { findMailboxRow, type MailboxRow } from './mailbox-store.ts';
import { listRights } from './rights-store.ts';

const reading = ['lookup', 'read', 'write-seen'];
const writing = [...reading, 'write', 'write-deleted', 'insert', 'post', 'expunge', 'create', 'delete'];

export async function convergeAccess(
  { database, doveadm }: { database: Database; doveadm: Doveadm },
  mailboxId: string,
): Promise<void> {
  for (;;) {
    const mailbox = await findMailboxRow(database, mailboxId);
    // Of what is deleted Dovecot would make an empty store anew.
    if (!mailbox || mailbox.state === 'purging' || mailbox.state === 'purged') return;
    const wanted = await listWanted(database, mailboxId);
    const actual = await doveadm.access(mailbox.address);
    if (!actual) throw notYetThere();
    const changes = new Map<string, readonly string[]>();
    const lost: string[] = [];
    for (const other of new Set([...wanted.keys(), ...actual.keys()])) {
      const [should, is] = [wanted.get(other) ?? [], actual.get(other) ?? []];
      if (isSame(should, is)) continue;
      changes.set(other, should);
      if (is.some((right) => !should.includes(right))) lost.push(other);
    }
    // Ended before the right goes too: killed in between, the next run sees no difference any more.
    for (const other of lost) await doveadm.kick(other);
    if (!(await doveadm.setAccess(mailbox.address, changes))) throw notYetThere();
    for (const other of lost) await doveadm.kick(other);
    if ((await findMailboxRow(database, mailboxId))?.version === mailbox.version) return;
  }
}

/**
 * Of a mailbox whose store is still to be made, so that nobody can have lost a right on it. Later changes of its rights ask for
 * `convergeAccess`, which compares.
 */
export async function giveFirstAccess(
  { database, doveadm }: { database: Database; doveadm: Doveadm },
  mailbox: MailboxRow,
): Promise<void> {
  const wanted = await listWanted(database, mailbox.account_id);
  if (wanted.size > 0 && !(await doveadm.setAccess(mailbox.address, wanted))) throw notYetThere();
}

async function listWanted(database: Database, mailboxId: string): Promise<Map<string, readonly string[]>> {
  const holders = (await listRights(database, [mailboxId])).filter(({ active }) => active);
  return new Map(
    holders.flatMap(({ address, rights }) => {
      const access = accessOf(rights);
      return access.length > 0 ? [[address, access] as const] : [];
    }),
  );
}

const accessOf = (rights: readonly MailboxRight[]): readonly string[] =>
  rights.includes('write') ? writing : rights.includes('read') ? reading : [];

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((one) => others.includes(one));

/** Its entry is still to be made. */
const notYetThere = (): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'mailbox_not_ready',
    detail: 'The mailbox is being made; its rights follow.',
  });
