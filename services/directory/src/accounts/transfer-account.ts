/**
 * An account goes to another agency; both lie in the caller's subtree. The username stays, and so does the entry's DN: attributes
 * follow. The address follows where the agency has a mail domain of its own: what stands before the @ stays, and the mailbox service
 * keeps the former address for a while. Positions that the person held stay with the agency and become vacant.
 */
import type { Transaction } from '@congvu/database';
import { requireOpenAgency } from '../agencies/agency-store.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { type AccountRef, type Cause, conflict, lockAccountFor, recordChange } from './change-account.ts';
import { vacatePositionsOf } from './hand-over-position.ts';
import { namesOfPosition } from './open-accounts.ts';

export async function transferAccount(
  transaction: Transaction,
  input: AccountRef & { toAgencyId: string; title?: string | null | undefined; reason?: string | undefined },
  cause: Cause,
): Promise<void> {
  const account = await lockAccountFor(transaction, 'transfer', input, cause.actor);
  if (account.kind === 'agency') {
    throw conflict(
      'account_kind',
      "An agency's own account stays with it; retire it and open one for the other agency.",
    );
  }
  if (account.agency_id === input.toAgencyId)
    throw conflict('nothing_changes', 'The account is at this agency already.');
  const agency = await requireOpenAgency(transaction, input.toAgencyId, cause.actor.agencyCode);
  await vacatePositionsOf(transaction, account.id, 'The holder was transferred to another agency.', cause);
  const changesTitle = input.title !== undefined && input.title !== account.title;
  const title = changesTitle ? (input.title ?? null) : account.title;
  const address = `${account.address.slice(0, account.address.lastIndexOf('@'))}@${agency.mail_domain}`;
  const moves = address !== account.address;
  const after = {
    agencyCode: agency.code,
    ...(moves && { address }),
    ...(changesTitle && { title: input.title }),
    ...(input.reason !== undefined && { reason: input.reason }),
  };
  await recordChange(
    transaction,
    account,
    {
      action: 'account.transferred',
      set: {
        agency_id: input.toAgencyId,
        title,
        ...(moves && { address }),
        ...(account.kind === 'position' && namesOfPosition(title, agency.name)),
      },
      before: {
        agencyCode: account.agency_code,
        ...(moves && { address: account.address }),
        ...(changesTitle && { title: account.title }),
      },
      after,
    },
    cause,
  );
  // Each of the two agencies finds it in its own audit: the one above is where it left, this is where it came to.
  await insertEvents(transaction, [
    {
      actor: cause.actor,
      action: 'account.received',
      subjectType: 'account',
      subjectId: account.id,
      agencyId: input.toAgencyId,
      requestId: cause.requestId,
      before: { agencyCode: account.agency_code },
      after,
    },
  ]);
}
