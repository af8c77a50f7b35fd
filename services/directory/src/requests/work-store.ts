/** Every query on directory.request_lines that carries them out and brings them to their end. */
import type { RequestOperation } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import type { OpeningLine } from '../accounts/account-store.ts';

export interface LineToCarryOut extends Omit<OpeningLine, 'kind'> {
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

/** Of an approved request, those not carried out, in the order of their numbers; locked until the transaction ends. */
export const listLinesToCarryOut = (
  transaction: Transaction,
  requestId: string,
  limit: number,
): Promise<LineToCarryOut[]> =>
  transaction
    .withMaterialized('l', (lines) =>
      lines
        .from('directory.request_lines')
        .where({ request_id: requestId, waiting: true })
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
): Promise<(OpeningLine & { agencyCode: string; username: string | null })[]> =>
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
    .where({ request_id: requestId, waiting: true })
    .first('line_number');
  return line !== undefined;
}

/** Requests of which something is left although they were decided on a while ago: the net under the jobs. */
export const listUnfinishedRequests = (connection: Connection, limit: number): Promise<string[]> =>
  connection('directory.requests as r')
    .where('r.state', 'approved')
    .whereRaw("r.decided_at < now() - interval '1 minute'")
    .whereRaw('exists (select 1 from directory.request_lines l where l.request_id = r.id and l.waiting)')
    .orderBy('r.decided_at')
    .limit(limit)
    .pluck('r.id');

/**
 * Each line, in the order of their numbers, with the account that it opened, or why it failed. What changes an account is at its end with that; an opened
 * account, and a certificate, still have to be made by the services.
 */
export async function markCarriedOut(
  transaction: Transaction,
  requestId: string,
  lines: readonly { lineNumber: number }[],
  opened: ReadonlyMap<number, string>,
  failures: ReadonlyMap<number, LineFailure>,
): Promise<void> {
  if (lines.length === 0) return;
  const rows = lines.map(({ lineNumber: line }) => ({ line, account: opened.get(line), failure: failures.get(line) }));
  await transaction.raw(
    `update directory.request_lines l set account_id = row.account, failure = row.failure, carried_out_at = now(),
       state = case when row.failure is not null then 'failed'
         when l.operation in ('open', 'issue_certificate', 'revoke_certificate') then 'approved' else 'fulfilled' end
     from json_to_recordset(?::json) as row(line int, account uuid, failure jsonb)
     where l.request_id = ? and l.line_number between ? and ? and l.line_number = row.line`,
    [JSON.stringify(rows), requestId, lines[0]?.lineNumber ?? 0, lines.at(-1)?.lineNumber ?? 0],
  );
}

/** Request id → numbers of its lines that opened these accounts, or asked for or revoked their certificates, and are not at their end. */
export async function findOpenLines(
  transaction: Transaction,
  accountIds: readonly string[],
): Promise<Map<string, number[]>> {
  const { rows } = await transaction.raw<{ rows: { request_id: string; numbers: number[] }[] }>(
    `select l.request_id, array_agg(distinct l.line_number) as numbers
     from unnest(?::uuid[]) as account(id) cross join lateral (
       select request_id, line_number from directory.request_lines where account_id = account.id and state = 'approved'
       union all
       select request_id, line_number from directory.request_lines where target_account_id = account.id and state = 'approved'
         and carried_out_at is not null) l
     group by l.request_id`,
    [[...accountIds]],
  );
  return new Map(rows.map((row) => [row.request_id, row.numbers]));
}

export async function settleLines(
  transaction: Transaction,
  requestId: string,
  lineNumbers: readonly number[],
): Promise<void> {
  await transaction('directory.request_lines')
    .where({ request_id: requestId, state: 'approved' })
    .whereRaw('line_number = any(?::int[])', [[...lineNumbers]])
    .update({ state: 'fulfilled' });
}
