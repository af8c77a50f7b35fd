/** Every query on certificate.external_credentials. */
import type { ExternalCredential, externalStates } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

export interface ExternalRow {
  id: string;
  kind: ExternalCredential['kind'];
  state: (typeof externalStates)[number];
  account_id: string;
  agency_id: string;
  form: Record<string, unknown>;
  identity_sealed: Buffer | null;
  letter_number: string | null;
  sent_at: Date | null;
  sent_by: string | null;
  remark: string | null;
  certificate: Buffer | null;
  fingerprint_sha256: Buffer | null;
  key_sha256: Buffer | null;
  serial_number: Buffer | null;
  issuer: string | null;
  subject: string | null;
  key_kind: string | null;
  not_before: Date | null;
  not_after: Date | null;
  chain_verified: boolean | null;
  registered_at: Date | null;
  revoked_at: Date | null;
  revocation_reason: ExternalCredential['revocationReason'];
  created_at: Date;
  created_by: string;
  idempotency_key: string | null;
  body_hash: Buffer | null;
  version: number;
}

const rows = (connection: Connection) => connection<ExternalRow>('certificate.external_credentials');

export interface AccountFacts {
  id: string;
  kind: 'person' | 'position' | 'agency' | 'service';
  state: string;
  address: string;
  displayName: string;
  /** Who holds a position; everybody else is the own holder. */
  fullName: string;
  title: string | null;
  agencyId: string;
  agencyCode: string;
  agencyName: string;
}

/** An account at or below an agency. */
export const findAccountWithin = (
  connection: Connection,
  id: string,
  agencyCode: string,
): Promise<AccountFacts | undefined> =>
  connection('directory.accounts_v as c')
    .leftJoin('directory.position_holders_v as h', 'h.position_id', 'c.id')
    .where('c.id', id)
    .whereRaw('c.agency_id in (select directory.agency_subtree(?))', [agencyCode])
    .first(
      'c.id',
      'c.kind',
      'c.state',
      'c.address',
      'c.title',
      'c.display_name as displayName',
      connection.raw('coalesce(h.display_name, c.display_name) as "fullName"'),
      'c.agency_id as agencyId',
      'c.agency_code as agencyCode',
      'c.agency_name as agencyName',
    );

export const findByIdempotencyKey = (
  connection: Connection,
  createdBy: string,
  key: string,
): Promise<ExternalRow | undefined> => rows(connection).where({ created_by: createdBy, idempotency_key: key }).first();

/** False where the client's Idempotency-Key was just used. */
export async function insertExternal(
  transaction: Transaction,
  row: Pick<
    ExternalRow,
    | 'id'
    | 'kind'
    | 'account_id'
    | 'agency_id'
    | 'form'
    | 'identity_sealed'
    | 'created_by'
    | 'idempotency_key'
    | 'body_hash'
  >,
): Promise<boolean> {
  const inserted = await rows(transaction)
    .insert({ ...row, form: JSON.stringify(row.form) as never })
    .onConflict(['created_by', 'idempotency_key'])
    .ignore()
    .returning('id');
  return inserted.length === 1;
}

export const updateExternal = (
  transaction: Transaction,
  id: string,
  { form, ...set }: Partial<Omit<ExternalRow, 'id'>>,
): Promise<unknown> =>
  rows(transaction)
    .where({ id })
    .update({
      ...set,
      ...(form && { form: JSON.stringify(form) as never }),
      version: transaction.raw('version + 1') as never,
    });

/** Its agency, or the one that its account has now, lies at or below `agencyCode`. */
const within = `(q.agency_id in (select directory.agency_subtree(:agency)) or c.agency_id in (select directory.agency_subtree(:agency)))`;

/** Locks it until the transaction ends: what is done to one is done one after the other. */
export async function lockExternal(
  transaction: Transaction,
  id: string,
  agencyCode: string,
  version: number | undefined,
): Promise<ExternalRow> {
  const row: ExternalRow | undefined = await transaction('certificate.external_credentials as q')
    .join('directory.accounts_v as c', 'c.id', 'q.account_id')
    .where('q.id', id)
    .whereRaw(within, { agency: agencyCode })
    .forUpdate('q')
    .first('q.*');
  if (!row) throw notFound();
  if (version === undefined || version === row.version) return row;
  throw new ServiceError({
    kind: 'stale',
    code: 'version_stale',
    detail: `The credential has changed: it is at version ${row.version} now. Read it again.`,
  });
}

/** Whether another account has the key of the certificate, here or from outside. */
export async function isKeyOfAnother(connection: Connection, keySha256: Buffer, accountId: string): Promise<boolean> {
  const { rows: found } = await connection.raw<{ rows: [{ taken: boolean }] }>(
    `select exists (select from certificate.external_credentials where key_sha256 = :key and account_id <> :account)
       or exists (select from certificate.enrolled_keys k join certificate.enrolments e on e.id = k.enrolment_id
         where k.fingerprint = :key and e.account_id <> :account and e.state <> 'rejected') as taken`,
    { key: keySha256, account: accountId } as never,
  );
  return found[0].taken;
}

interface ListRow extends ExternalRow {
  address: string;
  display_name: string;
  agency_code: string;
}

const listed = (connection: Connection, agencyCode: string) =>
  connection('certificate.external_credentials as q')
    .join('directory.accounts_v as c', 'c.id', 'q.account_id')
    .join('directory.agencies_v as a', 'a.id', 'q.agency_id')
    .whereRaw(within, { agency: agencyCode })
    .select<ListRow[]>('q.*', 'c.address', 'c.display_name', 'a.code as agency_code');

const toExternal = (row: ListRow): ExternalCredential => ({
  id: row.id,
  kind: row.kind,
  state: row.state,
  accountId: row.account_id,
  address: row.address,
  displayName: row.display_name,
  agencyCode: row.agency_code,
  form: row.form,
  letterNumber: row.letter_number,
  sentAt: row.sent_at?.toISOString() ?? null,
  remark: row.remark,
  serialNumber: row.serial_number?.toString('hex') ?? null,
  issuer: row.issuer,
  subject: row.subject,
  fingerprintSha256: row.fingerprint_sha256?.toString('hex') ?? null,
  notBefore: row.not_before?.toISOString() ?? null,
  notAfter: row.not_after?.toISOString() ?? null,
  chainVerified: row.chain_verified,
  registeredAt: row.registered_at?.toISOString() ?? null,
  revokedAt: row.revoked_at?.toISOString() ?? null,
  revocationReason: row.revocation_reason,
  createdAt: row.created_at.toISOString(),
  version: row.version,
});

export async function requireExternal(
  connection: Connection,
  id: string,
  agencyCode: string,
): Promise<{ wire: ExternalCredential; der: Buffer | null }> {
  const [row] = await listed(connection, agencyCode).where('q.id', id);
  if (row) return { wire: toExternal(row), der: row.certificate };
  throw notFound();
}

export async function listExternal(
  connection: Connection,
  filter: {
    scope: string;
    state?: string | undefined;
    kind?: string | undefined;
    accountId?: string | undefined;
  },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<ExternalCredential[]> {
  const found = await listed(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('q.state', filter.state);
      if (filter.kind) query.where('q.kind', filter.kind);
      if (filter.accountId) query.where('q.account_id', filter.accountId);
      if (after) query.whereRaw('(q.created_at, q.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'q.created_at', order: 'desc' },
      { column: 'q.id', order: 'desc' },
    ])
    .limit(limit);
  return found.map(toExternal);
}

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'external_credential_not_found',
    detail: 'There is no credential of the Government’s CA with that id at or below your agency.',
  });
