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
  /** Of a position: who holds it now; null while it is vacant. */
  holderId: string | null;
  agencyId: string;
  agencyCode: string;
  agencyName: string;
  agencyStatus: 'active' | 'closed' | 'future';
  mailDomain: string;
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

export const accountsQuery = `select c.id, c.kind, c.state, c.username, c.address, c.display_name as "displayName",
    coalesce(h.surname, c.surname) as surname, coalesce(h.given_name, c.given_name) as "givenName",
    coalesce(h.display_name, c.display_name) as "fullName", c.title, h.holder_id as "holderId", c.agency_id as "agencyId",
    c.agency_code as "agencyCode", c.agency_name as "agencyName", a.status as "agencyStatus", c.mail_domain as "mailDomain",
    c.credential_epoch as "credentialEpoch", o.certificate_request_id as "requestId", o.certificate_path as "certificatePath",
    o.certificate_number as "certificateNumber", o.certificate_revocation_reason as "revocationReason", c.version,
    c.entry_version as "entryVersion"
  from directory.accounts_v c
  join directory.certificate_orders_v o on o.account_id = c.id
  join directory.agencies_v a on a.id = c.agency_id
  left join directory.position_holders_v h on h.position_id = c.id`;

export const listAccounts = async (connection: Connection, ids: readonly string[]): Promise<AccountSource[]> =>
  (await prepared<AccountSource>(connection, 'accounts', `${accountsQuery} where c.id = any(?::uuid[])`, [ids])).rows;

/** What of an account decides about its certificates in LDAP. */
export type PublishedAccount = Pick<AccountSource, 'id' | 'kind' | 'certificatePath' | 'version' | 'entryVersion'>;

export const listPublished = async (connection: Connection, ids: readonly string[]): Promise<PublishedAccount[]> =>
  (
    await prepared<PublishedAccount>(
      connection,
      'published-accounts',
      `select c.id, c.kind, o.certificate_path as "certificatePath", c.version, c.entry_version as "entryVersion"
       from directory.accounts_v c join directory.certificate_orders_v o on o.account_id = c.id where c.id = any(?::uuid[])`,
      [ids],
    )
  ).rows;

export const findAccount = async (connection: Connection, id: string): Promise<AccountSource | undefined> =>
  (await listAccounts(connection, [id]))[0];

/** An account that one may see, and so ask something for. */
export async function requireAccount(connection: Connection, id: string, scope: Scope): Promise<AccountSource> {
  const isSeen =
    'accountId' in scope
      ? connection.raw('c.id = ? and c.credential_epoch = ?', [scope.accountId, scope.credentialEpoch])
      : connection.raw('c.agency_id in (select directory.agency_subtree(?))', [scope.agencyCode]);
  const { rows } = await connection.raw<{ rows: AccountSource[] }>(`${accountsQuery} where c.id = ? and ?`, [
    id,
    isSeen,
  ]);
  const [found] = rows;
  if (found) return found;
  throw new ServiceError({
    kind: 'not_found',
    code: 'account_not_found',
    detail: 'There is no account of that id that you may see.',
  });
}

/** Those that a request opened, at or below the agency, page by page. */
export async function listAccountsOfRequest(
  connection: Connection,
  requestId: string,
  agencyCode: string,
  after: string,
  limit: number,
): Promise<AccountSource[]> {
  const { rows } = await connection.raw<{ rows: AccountSource[] }>(
    `${accountsQuery} where c.request_id = ? and c.agency_id in (select directory.agency_subtree(?)) and c.username > ?
     order by c.username limit ?`,
    [requestId, agencyCode, after, limit],
  );
  return rows;
}

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
  dns_names: string[];
  asked_by_kind: 'client' | 'holder' | 'system' | null;
  asked_by: string | null;
  decided_by: string | null;
  decided_at: Date | null;
  decision_remark: string | null;
  body_hash: Buffer | null;
  renews: string | null;
  same_key: boolean;
  wrapped_passphrase: Buffer | null;
  /** An account has one at most, for each profile and set of host names. */
  is_open: boolean;
  created_at: Date;
}

/** Ids, by the key's fingerprint: the enrolment that brought it, and renewals that kept it. */
export const enrolmentsOfKey = `select e.id from certificate.enrolled_keys k
  join certificate.enrolments first on first.id = k.enrolment_id
  join certificate.enrolments e on e.account_id = first.account_id and e.subject_public_key_info = first.subject_public_key_info
  where k.fingerprint = ?`;

const rows = (connection: Connection) => connection<EnrolmentRow>('certificate.enrolments');

export const findOpenEnrolment = (
  connection: Connection,
  accountId: string,
  profile: string,
  dnsNames: readonly string[] = [],
): Promise<EnrolmentRow | undefined> =>
  rows(connection)
    .where({ account_id: accountId, profile })
    .whereRaw('dns_names = ?::text[]', [dnsNames as string[]])
    .where('is_open', true)
    .first();

export interface NewEnrolment {
  id: string;
  accountId: string;
  number: number;
  profile: string;
  path: Enrolment['path'];
  wrappedPrivateKey?: Buffer | null;
  subjectPublicKeyInfo?: Buffer | null;
  /** What follows is of one that was asked for here. */
  credentialEpoch?: number;
  awaitsApproval?: boolean;
  dnsNames?: readonly string[];
  askedBy?: { kind: string; id: string };
  idempotencyKey?: string | null;
  bodyHash?: Buffer;
  renews?: string;
  sameKey?: boolean;
}

/** False, and nothing happens, when the account has an open enrolment of that profile and those host names already. */
export async function insertEnrolment(transaction: Transaction, enrolment: NewEnrolment): Promise<boolean> {
  const ready = enrolment.path === 'csr' ? 'awaiting_csr' : 'awaiting_pickup';
  const inserted = await transaction.raw<{ rowCount: number }>(
    `insert into certificate.enrolments (id, account_id, number, profile, path, state, wrapped_private_key, subject_public_key_info,
       credential_epoch, dns_names, asked_by_kind, asked_by, idempotency_key, body_hash, renews, same_key)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     on conflict (account_id, profile, dns_names) where is_open do nothing`,
    [
      enrolment.id,
      enrolment.accountId,
      enrolment.number,
      enrolment.profile,
      enrolment.path,
      enrolment.awaitsApproval ? 'awaiting_approval' : ready,
      enrolment.wrappedPrivateKey ?? null,
      enrolment.subjectPublicKeyInfo ?? null,
      enrolment.credentialEpoch ?? 1,
      enrolment.dnsNames ?? [],
      enrolment.askedBy?.kind ?? null,
      enrolment.askedBy?.id ?? null,
      enrolment.idempotencyKey ?? null,
      enrolment.bodyHash ?? null,
      enrolment.renews ?? null,
      enrolment.sameKey ?? false,
    ] as never[],
  );
  return inserted.rowCount === 1;
}

/**
 * Closes what is the account's no more, and forgets its keys: of the profile that the directory orders what comes before `number`, of
 * the others what was asked for by whoever held the account before.
 */
export async function closeFormerEnrolments(
  transaction: Transaction,
  { id, credentialEpoch }: AccountSource,
  orderedProfile: string,
  number: number,
): Promise<void> {
  await rows(transaction)
    .where({ account_id: id })
    .whereNotIn('state', ['revoked', 'rejected'])
    .where((former) =>
      former
        .where((ordered) => ordered.where({ profile: orderedProfile }).where('number', '<', number))
        .orWhere((asked) =>
          asked.whereNot({ profile: orderedProfile }).where('credential_epoch', '<', credentialEpoch),
        ),
    )
    .update(closed(transaction));
}

const closed = (transaction: Transaction) =>
  ({
    state: 'revoked',
    wrapped_private_key: null,
    wrapped_passphrase: null,
    updated_at: transaction.fn.now(),
  }) as never;

/** Closes one, so that another may be opened. */
export async function closeEnrolment(transaction: Transaction, id: string): Promise<void> {
  await rows(transaction).where({ id }).update(closed(transaction));
}

/** Closes those of every profile. */
export async function closeOpenEnrolments(transaction: Transaction, accountId: string): Promise<void> {
  await rows(transaction).where({ account_id: accountId, is_open: true }).update(closed(transaction));
}

/** Locks the enrolment until the transaction ends: what is done to one is done one after the other. */
export async function lockEnrolment(transaction: Transaction, id: string): Promise<EnrolmentRow> {
  const row = await rows(transaction).where({ id }).forUpdate().first();
  if (!row) throw enrolmentNotFound();
  return row;
}

export async function setEnrolmentState(
  transaction: Transaction,
  id: string,
  state: Enrolment['state'],
): Promise<void> {
  await transaction('certificate.enrolments').where({ id }).update({ state, updated_at: transaction.fn.now() });
}

/**
 * From the first pickup on, the same holder may repeat it for ten minutes, should the answer be lost on its way. The register says who
 * came first and took which form; each is in the audit.
 */
export async function openPickup(
  transaction: Transaction,
  id: string,
  by: { actor: { kind: string; id: string }; displayName: string; form: string },
): Promise<void> {
  await transaction.raw(
    `update certificate.enrolments set state = 'issued', picked_up_at = coalesce(picked_up_at, now()),
       picked_up_by = coalesce(picked_up_by, (select name from directory.client_names_v where ? = 'client' and id::text = ?), ?),
       picked_up_form = coalesce(picked_up_form, ?),
       pickup_open_until = coalesce(pickup_open_until, now() + interval '10 minutes'), updated_at = now() where id = ?`,
    [by.actor.kind, by.actor.id, by.displayName, by.form, id],
  );
}

/** The private key is gone from here for good. */
export async function forgetPrivateKey(connection: Connection, id: string): Promise<void> {
  await rows(connection).where({ id }).update({ wrapped_private_key: null });
}

/** Delivered, and the time in which the delivery may be repeated is over: the private key is gone from here for good. */
export async function forgetDeliveredKeys(connection: Connection): Promise<number> {
  await rows(connection)
    .whereNotNull('wrapped_passphrase')
    .whereRaw("passphrase_shown_at < now() - interval '30 days'")
    .update({ wrapped_passphrase: null });
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
        `coalesce((select x.serial_number from certificate.certificates x where x.enrolment_id = e.id),
          (select i.serial_number from certificate.intents i where i.enrolment_id = e.id)) as serial_number`,
      ),
    );

const toEnrolment = (row: ListRow): Enrolment => ({
  id: row.id,
  accountId: row.account_id,
  address: row.address,
  profile: row.profile,
  path: row.path,
  state: row.state,
  dnsNames: row.dns_names,
  renews: row.renews,
  sameKey: row.same_key,
  askedBy: row.asked_by,
  decidedBy: row.decided_by,
  decidedAt: row.decided_at?.toISOString() ?? null,
  decisionRemark: row.decision_remark,
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
