/**
 * Makes the LDAP entry of a shared or service mailbox, below ou=mailboxes, what the record says. Its secret is no part of that: it is
 * set when it is issued, and stays. Harmless to repeat; looks again whether the record changed meanwhile.
 */
import type { Connection, Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Attributes, diffAttributes, distinguishedName, type Ldap } from '@congvu/ldap';
import { listRoutes, type MailRoutes, noRoutes } from '../aliases/forward-store.ts';
import { recordEvents, systemActor } from '../audit/audit-event.ts';
import { giveFirstAccess } from './converge-access.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import { basicAttributes, listFurtherAttributes, mailAttributeNames, routeAttributes } from './mail-attributes.ts';
import { type MailboxPolicy, mailStatusOf, quotaOf } from './mailbox.ts';
import { changeMailboxRow, findMailboxRow, lockMailboxes, type MailboxRow, markProvisioned } from './mailbox-store.ts';
import { queueForwarders } from './queue-mailboxes.ts';
import { listAssignedQuotas, listClassSizes } from './quota-store.ts';

export const ownMailboxDn = (address: string, baseDn: string): string =>
  distinguishedName({ uid: address.slice(0, address.indexOf('@')) }, `ou=mailboxes,${baseDn}`);

export async function convergeOwnMailbox(dependencies: MailboxDependencies, mailboxId: string): Promise<void> {
  const { database, ldap, doveadm, baseDn } = dependencies;
  for (;;) {
    // 1. The record, as configuration and classes want it.
    const mailbox = await recordPolicy(database, mailboxId, dependencies);
    if (!mailbox) return;

    // 2. LDAP, which Postfix and Dovecot read.
    const further = await listFurtherAttributes(database, [mailboxId]);
    const routes = await routesOf(database, mailboxId);
    const wanted = { ...basicAttributes(mailbox), ...further(mailboxId), ...routeAttributes(routes) };
    await writeEntry(ldap, baseDn, mailbox, wanted);

    // 3. Dovecot: no session of one that is not active; who may open a new one.
    if (mailbox.state !== 'active') {
      for (const address of [mailbox.address, ...routes.aliases]) await doveadm.kick(address);
    }
    if (!mailbox.provisioned_at) {
      await giveFirstAccess(dependencies, mailbox);
      await markProvisioned(database, [mailboxId]);
    }

    // 4. Again when it changed meanwhile.
    const isSame = JSON.stringify(await routesOf(database, mailboxId)) === JSON.stringify(routes);
    if (isSame && (await findMailboxRow(database, mailboxId))?.version === mailbox.version) return;
  }
}

const routesOf = async (connection: Connection, mailboxId: string): Promise<MailRoutes> =>
  (await listRoutes(connection, [mailboxId])).get(mailboxId) ?? noRoutes;

/** The row, locked and brought to what configuration and classes say of state and quota. */
async function recordPolicy(
  database: Database,
  mailboxId: string,
  policy: MailboxPolicy,
): Promise<MailboxRow | undefined> {
  return database.transaction(async (transaction) => {
    const [row] = await lockMailboxes(transaction, [mailboxId]);
    if (!row) return undefined;
    const { display_name, agency_id, kind } = row;
    if (display_name === null || agency_id === null) return undefined; // behind an account
    const assigned = await listAssignedQuotas(transaction, [{ id: mailboxId, kind, title: null, agencyId: agency_id }]);
    const sizes = row.quota_class_by_hand ? await listClassSizes(transaction) : new Map<string, number>();
    const quota = quotaOf(row, { assigned: assigned.get(mailboxId), sizes }, policy);
    const mailStatus = mailStatusOf(row.state, row.suspended_mail, policy);
    const isSame =
      row.mail_status === mailStatus &&
      Number(row.quota_bytes) === quota.quotaBytes &&
      row.quota_class === quota.quotaClass;
    if (isSame) return row;
    const changes = {
      mail_status: mailStatus,
      quota_bytes: String(quota.quotaBytes),
      quota_class: quota.quotaClass,
    };
    await changeMailboxRow(transaction, mailboxId, changes);
    if (row.mail_status !== mailStatus) await queueForwarders(transaction, [mailboxId]);
    await recordEvents(transaction, [
      {
        actor: systemActor,
        action: 'mailbox.changed',
        subjectType: 'mailbox',
        subjectId: mailboxId,
        agencyId: agency_id,
        before: { mailStatus: row.mail_status, quotaBytes: Number(row.quota_bytes), quotaClass: row.quota_class },
        after: { mailStatus, ...quota },
      },
    ]);
    return { ...row, ...changes, version: row.version + 1 };
  });
}

async function writeEntry(ldap: Ldap, baseDn: string, mailbox: MailboxRow, mail: Attributes): Promise<void> {
  const dn = ownMailboxDn(mailbox.address, baseDn);
  const wanted = { ...mail, displayName: [mailbox.display_name ?? ''] };
  const find = () => ldap.find(dn, ['congvuAccountId', 'displayName', ...mailAttributeNames]);
  let entry = mailbox.provisioned_at ? await find() : undefined;
  if (!entry) {
    const made = await ldap.add(dn, {
      objectClass: ['account', 'congvuAccount', 'congvuMailbox'],
      uid: [mailbox.address.slice(0, mailbox.address.indexOf('@'))],
      congvuAccountId: [mailbox.account_id],
      congvuAccountKind: [mailbox.kind],
      // Secrets arrive hashed, and guessing must not lock a program out.
      pwdPolicySubentry: [`cn=systems,ou=policies,${baseDn}`],
      ...wanted,
    });
    if (made) return;
    entry = await find();
  }
  if (entry?.attributes.congvuAccountId?.[0] !== mailbox.account_id) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'entry_of_another',
      detail: 'An LDAP entry of that name is not of this mailbox; an administrator has to look at it.',
    });
  }
  const changes = diffAttributes(entry.attributes, wanted);
  if (changes.length > 0) await ldap.modify(dn, changes);
}
