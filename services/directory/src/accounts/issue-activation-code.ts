/**
 * A single-use code with which the holder of an account sets the own password. It is shown this once, to the agency that
 * hands it over; the record keeps its hash. A new code voids the one before.
 */
import { createHash, randomInt } from 'node:crypto';
import type { ActivationCode } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { insertEvents } from '../audit/audit-store.ts';
import { listActivated, replaceActivationCode } from './activation-code-store.ts';
import { type Cause, conflict, lockAccountFor } from './change-account.ts';
import { findHolding } from './position-store.ts';

/** Without the letters and digits that are mistaken for each other on paper; 16 of 30 are 78 bits. */
const alphabet = 'ABCDEFGHJKMNPQRSTVWXYZ23456789';
const groups = 4;

export interface CodeRules {
  /** For how many days a code is good. */
  days: number;
  /** Whether a code may be made for an account whose holder has set a password. */
  mayReset: boolean;
}

export interface IssuedCode extends ActivationCode {
  displayName: string;
  /** The person who holds a position. */
  holderName: string | null;
  title: string | null;
  agencyName: string;
}

export async function issueActivationCode(
  transaction: Transaction,
  accountId: string,
  rules: CodeRules,
  cause: Cause,
): Promise<IssuedCode> {
  const account = await lockAccountFor(transaction, 'issue_activation_code', { accountId }, cause.actor);
  const holding = account.kind === 'position' ? await findHolding(transaction, accountId) : undefined;
  if (account.kind === 'position' && !holding) {
    throw conflict('position_vacant', 'Nobody holds this position; say first who does.');
  }
  const isReset = (await listActivated(transaction, [accountId])).has(accountId);
  if (isReset && !rules.mayReset) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'already_activated',
      detail:
        'The holder has set a password already; a new code would take the account over and needs passwords:reset.',
    });
  }
  const code = newCode();
  const expiresAt = new Date(Date.now() + rules.days * 86_400_000);
  await replaceActivationCode(transaction, {
    accountId,
    credentialEpoch: account.credential_epoch,
    codeHash: hashCode(code),
    issuedBy: cause.actor.id,
    expiresAt,
  });
  await insertEvents(transaction, [
    {
      actor: cause.actor,
      action: isReset ? 'activation_code.issued_for_reset' : 'activation_code.issued',
      subjectType: 'account',
      subjectId: accountId,
      agencyId: account.agency_id,
      requestId: cause.requestId ?? account.request_id,
      after: { expiresAt: expiresAt.toISOString() },
    },
  ]);
  return {
    accountId,
    address: account.address,
    code,
    expiresAt: expiresAt.toISOString(),
    displayName: account.display_name,
    holderName: holding?.holder_name ?? null,
    title: account.title,
    agencyName: account.agency_name,
  };
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
