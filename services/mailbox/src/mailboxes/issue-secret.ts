/**
 * A new secret for a service mailbox, shown this once; the one before opens nothing from then on. On record before it is set, so
 * that none is ever in use without a trace; should LDAP not answer, the old one stays good and the call is repeated.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { MailboxSecret } from '@congvu/contracts';
import type { Actor } from '../audit/audit-event.ts';
import { conflict, lockMailbox, type MailboxRef, record } from './change-mailbox.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import { convergeOwnMailbox, ownMailboxDn } from './converge-own-mailbox.ts';
import { changeMailboxRow } from './mailbox-store.ts';

export async function issueSecret(
  dependencies: MailboxDependencies,
  ref: MailboxRef,
  actor: Actor,
): Promise<MailboxSecret> {
  const { database, ldap, doveadm, baseDn } = dependencies;
  // 1. By right, and on record.
  const address = await database.transaction(async (transaction) => {
    const { row, agencyId } = await lockMailbox(transaction, ref, actor);
    if (row.kind !== 'service') throw conflict('no_secret', 'Only a service mailbox has a secret.');
    await changeMailboxRow(transaction, row.account_id, { secret_issued_at: new Date() });
    await record(transaction, row, agencyId, 'mailbox.secret_issued', {}, actor);
    return row.address;
  });

  // 2. Into LDAP, hashed; its entry may not be there yet.
  await convergeOwnMailbox(dependencies, ref.id);
  const secret = randomBytes(24).toString('base64url');
  const values = [hashOf(secret)];
  const dn = ownMailboxDn(address, baseDn);
  await ldap.modify(dn, [{ attribute: 'userPassword', operation: 'replace', values }]);

  // 3. Nobody stays who came with the one before.
  await doveadm.kick(address);
  return { accountId: ref.id, address, secret };
}

/** 192 random bits need no slow hash, and programs log in often. As OpenLDAP's pw-sha2 reads it. */
function hashOf(secret: string): string {
  const salt = randomBytes(16);
  const digest = createHash('sha512').update(secret).update(salt).digest();
  return `{SSHA512}${Buffer.concat([digest, salt]).toString('base64')}`;
}
