/** Every query on directory.request_lines that carries them out and brings them to their end. */
import type { RequestOperation } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import type { OpeningLine } from '../accounts/account-store.ts';

export interface LineToCarryOut extends Omit<OpeningLine, 'kind'> {
  lineNumber: number;
  operation: RequestOperation;
  kind: OpeningLine['kind'] | null;
  targetAccountId: string | null;
  targetKind: OpeningLine['kind'] | null;
  reason: string | null;
  newAddress: boolean;
}

export interface LineFailure {
  code: string;
  detail: string;
}

const columns = [
  'l.id',
  'l.operation',
  'l.kind',
  'l.reason',
  'l.sex',
  'l.title',
  'l.mobile',
  'l.line_number as lineNumber',
  'l.target_account_id as targetAccountId',
  'l.agency_id as agencyId',
  'a.name as agencyName',
  'a.mail_domain as mailDomain',
  'a.short_name as shortName',
  'l.full_name as fullName',
  'l.national_id_sealed as nationalIdSealed',
  'l.national_id_hash as nationalIdHash',
  'l.certificate_path as certificatePath',
  'l.new_address as newAddress',
] as const;

/** Approved and not carried out, in the order of their numbers; locked until the transaction ends. */
export const listLinesToCarryOut = (
  transaction: Transaction,
  requestId: string,
  limit: number,
): Promise<LineToCarryOut[]> =>
  transaction
    .withMaterialized('l', (lines) =>
      lines
        .from('directory.request_lines')
        .where({ request_id: requestId, state: 'approved' })
        .whereNull('carried_out_at')
        .orderBy('line_number')
        .limit(limit)
        .forUpdate()
        .select('*'),
    )
    .from('l')
    .join('directory.agencies as a', 'a.id', 'l.agency_id')
    .leftJoin('directory.accounts as target', 'target.id', 'l.target_account_id')
    .orderBy('l.line_number')
    .select<LineToCarryOut[]>(
      ...columns,
      'target.kind as targetKind',
      transaction.raw('to_char(l.birth_date, \'YYYY-MM-DD\') as "birthDate"'),
    );

/** Lines that open accounts or have opened them, by number, with the username that they got. */
export const listLinesToName = (
  connection: Connection,
  requestId: string,
  limit: number,
  after: number,
): Promise<(OpeningLine & { lineNumber: number; agencyCode: string; username: string | null })[]> =>
  connection('directory.request_lines as l')
    .join('directory.agencies as a', 'a.id', 'l.agency_id')
    .leftJoin('directory.accounts as c', 'c.id', 'l.account_id')
    .where({ 'l.request_id': requestId, 'l.operation': 'open' })
    .whereIn('l.state', ['draft', 'submitted', 'approved', 'fulfilled'])
    .where('l.line_number', '>', after)
    .orderBy('l.line_number')
    .limit(limit)
    .select(
      ...columns,
      'a.code as agencyCode',
      'c.username',
      connection.raw('to_char(l.birth_date, \'YYYY-MM-DD\') as "birthDate"'),
    );

export async function hasLinesToCarryOut(connection: Connection, requestId: string): Promise<boolean> {
  const line = await connection('directory.request_lines')
    .where({ request_id: requestId, state: 'approved' })
    .whereNull('carried_out_at')
    .first('id');
  return line !== undefined;
}

/** Requests of which something is left although they were decided on a while ago: the net under the jobs. */
export const listUnfinishedRequests = (connection: Connection, limit: number): Promise<string[]> =>
  connection('directory.requests as r')
    .where('r.state', 'approved')
    .whereRaw("r.decided_at < now() - interval '1 minute'")
    .whereRaw(
      `exists (select 1 from directory.request_lines l where l.request_id = r.id and l.state = 'approved' and l.carried_out_at is null)`,
    )
    .orderBy('r.decided_at')
    .limit(limit)
    .pluck('r.id');

/**
 * Each line with the account that it opened, or why it failed. What changes an account is at its end with that; an opened
 * account, and a certificate, still have to be made by the services.
 */
export async function markCarriedOut(
  transaction: Transaction,
  lines: readonly { id: string }[],
  opened: ReadonlyMap<string, string>,
  failures: ReadonlyMap<string, LineFailure>,
): Promise<void> {
  if (lines.length === 0) return;
  const rows = lines.map(({ id }) => ({ id, account: opened.get(id) ?? null, failure: failures.get(id) ?? null }));
  await transaction.raw(
    `update directory.request_lines l set account_id = row.account, failure = row.failure, carried_out_at = now(),
       state = case when row.failure is not null then 'failed'
         when l.operation in ('open', 'issue_certificate', 'revoke_certificate') then 'approved' else 'fulfilled' end
     from jsonb_to_recordset(?::jsonb) as row(id uuid, account uuid, failure jsonb) where l.id = row.id`,
    [JSON.stringify(rows)],
  );
}

/** The requests of lines that opened these accounts, or asked for or revoked their certificates, and are not at their end. */
export async function listRequestsOfAccounts(
  transaction: Transaction,
  accountIds: readonly string[],
): Promise<string[]> {
  const { rows } = await transaction.raw<{ rows: { request_id: string }[] }>(
    `with account as (select unnest(?::uuid[]) as id)
     select l.request_id from account join directory.request_lines l on l.account_id = account.id and l.state = 'approved'
     union select l.request_id from account join directory.request_lines l on l.target_account_id = account.id
       and l.state = 'approved' and l.carried_out_at is not null`,
    [[...accountIds]],
  );
  return rows.map((row) => row.request_id);
}

/** Marks the lines of accounts whose every part stands fulfilled. */
export async function settleLines(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  await transaction.raw(
    `update directory.request_lines l set state = 'fulfilled' from unnest(?::uuid[]) as account(id)
     where l.account_id = account.id and l.state = 'approved'`,
    [[...accountIds]],
  );
  await transaction.raw(
    `update directory.request_lines l set state = 'fulfilled' from unnest(?::uuid[]) as account(id)
     where l.target_account_id = account.id and l.state = 'approved' and l.carried_out_at is not null`,
    [[...accountIds]],
  );
}
