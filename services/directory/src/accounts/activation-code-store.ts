/** Every query on directory.activation_codes. */
import type { Connection, Transaction } from '@congvu/database';

/** Replaces the open code of the account, if there is one, so that a lost slip is void as soon as a new one is made. */
export async function replaceActivationCode(
  transaction: Transaction,
  code: { accountId: string; credentialEpoch: number; codeHash: Buffer; issuedBy: string; expiresAt: Date },
): Promise<void> {
  await transaction.raw(
    `insert into directory.activation_codes (account_id, credential_epoch, code_hash, issued_by, expires_at)
     values (?, ?, ?, ?, ?)
     on conflict (account_id) where used_at is null do update set credential_epoch = excluded.credential_epoch,
       code_hash = excluded.code_hash, issued_by = excluded.issued_by, issued_at = now(),
       expires_at = excluded.expires_at, claimed_until = null`,
    [code.accountId, code.credentialEpoch, code.codeHash, code.issuedBy, code.expiresAt],
  );
}

/** The open code of the account, if there is one, is good no longer. */
export async function voidActivationCodes(transaction: Transaction, accountId: string): Promise<void> {
  await transaction('directory.activation_codes')
    .where({ account_id: accountId })
    .whereNull('used_at')
    .update({ expires_at: transaction.raw("least(expires_at, now() - interval '1 second')") });
}

/**
 * Claims the open code for a minute, so that of two who send it at once one goes on. False when there is no such code,
 * it has expired or was used, or another has it claimed.
 */
export async function claimActivationCode(
  connection: Connection,
  accountId: string,
  codeHash: Buffer,
): Promise<boolean> {
  const claimed = await connection('directory.activation_codes')
    .where({ account_id: accountId, code_hash: codeHash })
    .whereNull('used_at')
    .whereRaw('expires_at > now() and (claimed_until is null or claimed_until < now())')
    .update({ claimed_until: connection.raw("now() + interval '1 minute'") });
  return claimed === 1;
}

/** Which of the accounts have a password that their holder set, and that nothing voided since. */
export async function listActivated(connection: Connection, accountIds: readonly string[]): Promise<Set<string>> {
  const ids: string[] = await connection('directory.activation_codes as k')
    .join('directory.accounts as c', (join) => {
      join.on('c.id', 'k.account_id').andOn('c.credential_epoch', 'k.credential_epoch');
    })
    .whereIn('k.account_id', accountIds)
    .whereNotNull('k.used_at')
    .distinct()
    .pluck('k.account_id');
  return new Set(ids);
}

export const releaseActivationCode = async (connection: Connection, codeHash: Buffer): Promise<void> => {
  await connection('directory.activation_codes').where({ code_hash: codeHash }).update({ claimed_until: null });
};

export const markActivationCodeUsed = async (transaction: Transaction, codeHash: Buffer): Promise<void> => {
  await transaction('directory.activation_codes')
    .where({ code_hash: codeHash })
    .update({ used_at: transaction.fn.now() });
};
