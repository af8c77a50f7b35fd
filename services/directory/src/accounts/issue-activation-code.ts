/**
 * A single-use code with which the holder of an account sets the own password. It is shown this once, to the agency that
 * hands it over; the record keeps its hash. A new code voids the one before.
 */
import { createHash, randomInt } from 'node:crypto';
import type { ActivationCode } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { requireAccount, requireAccountForUpdate } from './account-store.ts';
import { replaceActivationCode, wasActivated } from './activation-code-store.ts';

/** Without the letters and digits that are mistaken for each other on paper; 16 of 30 are 78 bits. */
const alphabet = 'ABCDEFGHJKMNPQRSTVWXYZ23456789';
const groups = 4;

export async function issueActivationCode(
  database: Database,
  id: string,
  days: number,
  /** Whether a code may be made for an account whose holder has set a password. */
  mayReset: boolean,
  actor: Actor & { agencyCode: string },
): Promise<ActivationCode> {
  const code = newCode();
  const expiresAt = new Date(Date.now() + days * 86_400_000);
  await database.transaction(async (transaction) => {
    const account = await requireAccountForUpdate(transaction, id, actor.agencyCode);
    if (account.state !== 'active') {
      throw new ServiceError({
        kind: 'conflict',
        code: 'account_state',
        detail: `The account is ${account.state}, not active.`,
      });
    }
    const isReset = await wasActivated(transaction, id);
    if (isReset && !mayReset) {
      throw new ServiceError({
        kind: 'forbidden',
        code: 'already_activated',
        detail:
          'The holder has set a password already; a new code would take the account over and needs passwords:reset.',
      });
    }
    await replaceActivationCode(transaction, {
      accountId: id,
      codeHash: hashCode(code),
      issuedBy: actor.id,
      expiresAt,
    });
    await insertEvents(transaction, [
      {
        actor,
        action: isReset ? 'activation_code.issued_for_reset' : 'activation_code.issued',
        subjectType: 'account',
        subjectId: id,
        agencyId: account.agency_id,
        requestId: account.request_id,
        after: { expiresAt: expiresAt.toISOString() },
      },
    ]);
  });
  const { address } = await requireAccount(database, id, actor.agencyCode);
  return { accountId: id, address, code, expiresAt: expiresAt.toISOString() };
}

const newCode = (): string =>
  Array.from({ length: groups }, () =>
    Array.from({ length: 4 }, () => alphabet[randomInt(alphabet.length)]).join(''),
  ).join('-');

/** As typed: case, spaces and hyphens do not matter. */
export const hashCode = (code: string): Buffer =>
  createHash('sha256')
    .update(code.toUpperCase().replace(/[^A-Z0-9]/g, ''))
    .digest();
