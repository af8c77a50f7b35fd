/** Every query on certificate.enrolments, and what this service reads of accounts through the directory's views. */
import type { Enrolment } from '@congvu/contracts';
import { type Connection, prepared, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { RevocationReason, Scope } from '../certificates/certificate-store.ts';

export interface AccountSource {
  id: string;
  kind: 'person' | 'position' | 'agency' | 'service';
  state: 'pending' | 'active' | 'suspended' | 'retired';
  username: string;
  address: string;
  displayName: string;
  /** Of the person: of a position, whoever holds it. */
  surname: string;
  givenName: string;
  fullName: string;
  title: string | null;
  agencyId: string;
  agencyCode: string;
  agencyName: string;
  requestId: string | null;
  certificatePath: 'server_key' | 'csr' | 'none';
  /** Which certificate of the account it is to have; those before are to be revoked. */
  certificateNumber: number;
  /** Why, if a request had it revoked. */
  revocationReason: RevocationReason | null;
  /** Who held the account earlier is of an earlier one. */
  credentialEpoch: number;
  version: number;
  entryVersion: number;
}

export const listAccounts = async (connection: Connection, ids: readonly string[]): Promise<AccountSource[]> => {
  const { rows } = await prepared<AccountSource>(
    connection,
    'accounts',
    `select c.id, c.kind, c.state, c.username, c.address, c.display_name as "displayName", c.surname, c.given_name as "givenName",
       c.display_name as "fullName", c.title, c.agency_id as "agencyId", c.agency_code as "agencyCode", c.agency_name as "agencyName",
       c.request_id as "requestId", o.certificate_path as "certificatePath", o.certificate_number as "certificateNumber",
       o.certificate_revocation_reason as "revocationReason", c.credential_epoch as "credentialEpoch", c.version,
       c.entry_version as "entryVersion"
     from directory.accounts_v c join directory.certificate_orders_v o on o.account_id = c.id where c.id = any(?::uuid[])`,
    [ids],
  );
  return rows;
};

export const findAccount = async (connection: Connection, id: string): Promise<AccountSource | undefined> =>
  (await listAccounts(connection, [id]))[0];

export interface EnrolmentRow {
  id: string;
  account_id: string;
  number: number;
  profile: string;
  path: Enrolment['path'];
  state: Enrolment['state'];
  wrapped_private_key: Buffer | null;
  subject_public_key_info: Buffer | null;
  picked_up_at: Date | null;
  pickup_open_until: Date | null;
  created_at: Date;
}

const rows = (connection: Connection) => connection<EnrolmentRow>('certificate.enrolments');

export const findOpenEnrolment = (
  connection: Connection,
  accountId: string,
  profile: string,
): Promise<EnrolmentRow | undefined> =>
  rows(connection)
    .where({ account_id: accountId, profile })
    .whereIn('state', ['awaiting_csr', 'awaiting_pickup', 'issued'])
    .first();

/** Nothing happens when the account has an open enrolment of that profile already. */
export async function insertEnrolment(
  transaction: Transaction,
  enrolment: {
    id: string;
    accountId: string;
    number: number;
    profile: string;
    path: Enrolment['path'];
    wrappedPrivateKey: Buffer | null;
    subjectPublicKeyInfo: Buffer | null;
  },
): Promise<boolean> {
  const inserted = await transaction.raw<{ rowCount: number }>(
    `insert into certificate.enrolments (id, account_id, number, profile, path, state, wrapped_private_key, subject_public_key_info)
     values (?, ?, ?, ?, ?, ?, ?, ?)
     on conflict (account_id, profile) where state in ('awaiting_csr', 'awaiting_pickup', 'issued') do nothing`,
    [
      enrolment.id,
      enrolment.accountId,
      enrolment.number,
      enrolment.profile,
      enrolment.path,
      enrolment.path === 'csr' ? 'awaiting_csr' : 'awaiting_pickup',
      enrolment.wrappedPrivateKey,
      enrolment.subjectPublicKeyInfo,
    ] as never[],
  );
  return inserted.rowCount === 1;
}

/** Closes the open ones that come before `number`, and forgets their keys. */
export async function closeEnrolmentsBefore(
  transaction: Transaction,
  accountId: string,
  profile: string,
  number: number,
): Promise<void> {
  await rows(transaction)
    .where({ account_id: accountId, profile })
    .where('number', '<', number)
    .whereNot({ state: 'revoked' })
    .update({ state: 'revoked', wrapped_private_key: null, updated_at: transaction.fn.now() } as never);
}

/** Locks the enrolment until the transaction ends: what is done to one is done one after the other. */
export async function lockEnrolment(transaction: Transaction, id: string): Promise<EnrolmentRow> {
  const row = await rows(transaction).where({ id }).forUpdate().first();
  if (!row) throw enrolmentNotFound();
  return row;
}

/** From the first pickup on, the same holder may repeat it for ten minutes, should the answer be lost on its way. */
export async function openPickup(transaction: Transaction, id: string): Promise<void> {
  await transaction.raw(
    `update certificate.enrolments set state = 'issued', picked_up_at = coalesce(picked_up_at, now()),
       pickup_open_until = coalesce(pickup_open_until, now() + interval '10 minutes'), updated_at = now() where id = ?`,
    [id],
  );
}

/** The private key is gone from here for good. */
export async function forgetPrivateKey(connection: Connection, id: string): Promise<void> {
  await rows(connection).where({ id }).update({ wrapped_private_key: null });
}

/** Delivered, and the time in which the delivery may be repeated is over: the private key is gone from here for good. */
export async function forgetDeliveredKeys(connection: Connection): Promise<number> {
  return rows(connection)
    .whereNotNull('wrapped_private_key')
    .whereRaw('pickup_open_until < now()')
    .update({ wrapped_private_key: null });
}

interface ListRow extends EnrolmentRow {
  address: string;
  serial_number: Buffer | null;
}

const enrolments = (connection: Connection, scope: Scope) =>
  connection('certificate.enrolments as e')
    .join('directory.accounts_v as c', 'c.id', 'e.account_id')
    .modify((query) => {
      if ('accountId' in scope)
        query.where({ 'e.account_id': scope.accountId, 'c.credential_epoch': scope.credentialEpoch });
      else query.whereRaw('c.agency_id in (select directory.agency_subtree(?))', [scope.agencyCode]);
    })
    .select<ListRow[]>(
      'e.*',
      'c.address',
      connection.raw(
        '(select x.serial_number from certificate.certificates x where x.enrolment_id = e.id order by x.created_at desc limit 1) as serial_number',
      ),
    );

const toEnrolment = (row: ListRow): Enrolment => ({
  id: row.id,
  accountId: row.account_id,
  address: row.address,
  profile: row.profile,
  path: row.path,
  state: row.state,
  serialNumber: row.serial_number?.toString('hex') ?? null,
  pickedUpAt: row.picked_up_at?.toISOString() ?? null,
  createdAt: row.created_at.toISOString(),
});

export async function requireEnrolment(connection: Connection, id: string, scope: Scope): Promise<Enrolment> {
  const [row] = await enrolments(connection, scope).where('e.id', id);
  if (!row) throw enrolmentNotFound();
  return toEnrolment(row);
}

export const enrolmentNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'enrolment_not_found',
    detail: 'There is no enrolment of that id that you may see.',
  });

export async function listEnrolments(
  connection: Connection,
  filter: { scope: Scope; state?: string | undefined; accountId?: string | undefined },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Enrolment[]> {
  const found = await enrolments(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('e.state', filter.state);
      if (filter.accountId) query.where('e.account_id', filter.accountId);
      if (after) query.whereRaw('(e.created_at, e.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'e.created_at', order: 'desc' },
      { column: 'e.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return found.map(toEnrolment);
}
