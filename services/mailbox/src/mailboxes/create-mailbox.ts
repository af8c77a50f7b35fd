/**
 * Makes a mailbox that is nobody's account: a shared one, which has no password, or a program's, whose secret is issued on the way and
 * shown this once. The local part is taken in the transaction, for ever; those who are to use a shared one have their rights from it.
 * The same Idempotency-Key makes one.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { MailboxInput } from '@congvu/contracts';
import type { Connection, Database } from '@congvu/database';
import { type Fault, invalid, keyReused, ServiceError } from '@congvu/errors';
import { isLocalPart, parseAgencyCode } from '@congvu/vietnamese';
import { findOpenAgency } from '../agencies/agency-store.ts';
import { type Actor, type AuditEvent, recordEvents } from '../audit/audit-event.ts';
import { ensureDomains, queueDomains } from '../domains/converge-domains.ts';
import { holderRefusal } from './change-rights.ts';
import { findByIdempotencyKey, insertOwnMailbox, takeMailName } from './mailbox-store.ts';
import { queueMailboxes } from './queue-mailboxes.ts';
import { listAssignedQuotas } from './quota-store.ts';
import { insertRights, listHolders } from './rights-store.ts';

export async function createMailbox(
  { database, domain, quotaBytes }: { database: Database; domain: string; quotaBytes: number },
  input: MailboxInput,
  actor: Actor,
  idempotencyKey: string | undefined,
): Promise<{ id: string; isNew: boolean }> {
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  return database.transaction(async (transaction) => {
    // 1. Of two with one key the second waits here, and finds what the first made.
    if (idempotencyKey) {
      await transaction.raw('select pg_advisory_xact_lock(hashtextextended(?, 0))', [
        `mailbox:${actor.id}:${idempotencyKey}`,
      ]);
      const repeated = await findByIdempotencyKey(transaction, actor.id, idempotencyKey);
      if (repeated && !repeated.body_hash.equals(bodyHash)) throw keyReused();
      if (repeated) return { id: repeated.account_id, isNew: false };
    }

    // 2. Everything that is wrong with it.
    const code = parseAgencyCode(input.agencyCode);
    const agency = code.ok ? await findOpenAgency(transaction, code.code, actor.agencyCode) : undefined;
    const faults: Fault[] = [];
    if (!isLocalPart(input.localPart)) faults.push(badLocalPart);
    if (!code.ok) faults.push(...code.faults.map((fault) => ({ pointer: '/agencyCode', ...fault })));
    else if (!agency) faults.push(noAgency);
    faults.push(...(await rightsFaults(transaction, input, actor)));
    if (faults.length > 0 || !agency) throw invalid('request_invalid', faults);

    // 3. The record, the events, the jobs; last the name, because names are given one after the other in the whole province.
    const id = randomUUID();
    const { kind, localPart, displayName, rights: given = [] } = input;
    const address = `${localPart}@${agency.mail_domain}`;
    const [assigned] = (
      await listAssignedQuotas(transaction, [{ id, kind, title: null, agencyId: agency.id }])
    ).values();
    await insertOwnMailbox(transaction, {
      id,
      kind,
      address,
      displayName,
      agencyId: agency.id,
      quotaBytes: input.quotaBytes ?? assigned?.quotaBytes ?? quotaBytes,
      quotaClass: input.quotaBytes ? null : (assigned?.classCode ?? null),
      quotaBytesByHand: input.quotaBytes ?? null,
      createdBy: actor.id,
      idempotencyKey: idempotencyKey ?? null,
      bodyHash,
    });
    const about = { actor, subjectType: 'mailbox', subjectId: id, agencyId: agency.id };
    const after = { kind, address, displayName, state: 'active' };
    const events: AuditEvent[] = [{ ...about, action: 'mailbox.created', after }];
    for (const [holderId, saved] of await insertRights(transaction, id, given)) {
      const before = { holderId, rights: [] };
      events.push({ ...about, action: 'mailbox.rights_changed', before, after: { holderId, rights: saved } });
    }
    await recordEvents(transaction, events);
    if (await ensureDomains(transaction, domain, [agency.mail_domain])) await queueDomains(transaction);
    await queueMailboxes(transaction, [{ id, kind }]); // which also brings the rights to Dovecot
    if (!(await takeMailName(transaction, localPart, id))) throw addressTaken(address);
    return { id, isNew: true };
  });
}

async function rightsFaults(
  connection: Connection,
  { kind, rights = [] }: MailboxInput,
  actor: Actor,
): Promise<Fault[]> {
  if (kind !== 'shared' && rights.length > 0) return [{ pointer: '/rights', ...notShared }];
  const faults: Fault[] = [];
  const seen = new Set<string>();
  const holders = await listHolders(
    connection,
    rights.map(({ accountId }) => accountId),
    actor.agencyCode,
  );
  for (const [index, { accountId }] of rights.entries()) {
    const holder = holders.get(accountId);
    const refusal = seen.has(accountId) ? heldTwice : holder ? holderRefusal(holder) : noHolder;
    if (refusal) faults.push({ pointer: `/rights/${index}/accountId`, ...refusal });
    seen.add(accountId);
  }
  return faults;
}

const notShared = {
  code: 'mailbox_not_shared',
  detail: 'A mailbox of a program is opened by nobody else; leave the rights out.',
};
const heldTwice = { code: 'holder_twice', detail: 'This person is named already; say all their rights in one place.' };
const noHolder = {
  code: 'mailbox_not_found',
  detail: 'There is no mailbox of that account at or below your agency.',
};
const badLocalPart = {
  pointer: '/localPart',
  code: 'local_part',
  detail:
    'Small letters, digits, dots and hyphens, a letter or digit first and last, and no name that is kept for a role (postmaster, thongbao …).',
};
const noAgency = {
  pointer: '/agencyCode',
  code: 'agency_not_found',
  detail: 'There is no agency of that code at or below yours that exists today.',
};
const addressTaken = (address: string): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'address_taken',
    detail: `${address} belongs to somebody, or did, or is kept for an agency; choose another.`,
  });
