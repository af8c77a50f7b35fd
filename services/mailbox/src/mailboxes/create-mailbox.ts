/**
 * Makes a mailbox that is nobody's account: a shared one, which has no password, or a program's, whose secret is issued on the way and
 * shown this once. The local part is taken in the transaction, for ever. The same Idempotency-Key makes one.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { MailboxInput } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { invalid, keyReused, ServiceError } from '@congvu/errors';
import { isLocalPart, parseAgencyCode } from '@congvu/vietnamese';
import { findOpenAgency } from '../agencies/agency-store.ts';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import { ensureDomains, queueDomains } from '../domains/converge-domains.ts';
import { findByIdempotencyKey, insertOwnMailbox, takeMailName } from './mailbox-store.ts';
import { queueMailboxes } from './queue-mailboxes.ts';

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
    const faults = [];
    if (!isLocalPart(input.localPart)) faults.push(badLocalPart);
    if (!code.ok) faults.push(...code.faults.map((fault) => ({ pointer: '/agencyCode', ...fault })));
    else if (!agency) faults.push(noAgency);
    if (faults.length > 0 || !agency) throw invalid('request_invalid', faults);

    // 3. The name, the record, the event, the job.
    const id = randomUUID();
    const { kind, localPart, displayName } = input;
    const address = `${localPart}@${agency.mail_domain}`;
    if (!(await takeMailName(transaction, localPart, id))) throw addressTaken(address);
    await insertOwnMailbox(transaction, {
      id,
      kind,
      address,
      displayName,
      agencyId: agency.id,
      quotaBytes: input.quotaBytes ?? quotaBytes,
      quotaClass: null,
      quotaBytesByHand: input.quotaBytes ?? null,
      createdBy: actor.id,
      idempotencyKey: idempotencyKey ?? null,
      bodyHash,
    });
    const after = { kind, address, displayName, state: 'active' };
    await recordEvents(transaction, [
      { actor, action: 'mailbox.created', subjectType: 'mailbox', subjectId: id, agencyId: agency.id, after },
    ]);
    if (await ensureDomains(transaction, domain, [agency.mail_domain])) await queueDomains(transaction);
    await queueMailboxes(transaction, [{ id, kind }]);
    return { id, isNew: true };
  });
}

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
