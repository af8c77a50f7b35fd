/** Every query on certificate.certificates. */
import type { Certificate, revocationReasons } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

export type RevocationReason = (typeof revocationReasons)[number];

export interface CertificateRow {
  id: string;
  authority_id: string;
  /** Fixed at issuance: it stands in the certificate. */
  crl_partition: number;
  serial_number: Buffer;
  enrolment_id: string;
  account_id: string;
  agency_id: string;
  request_id: string | null;
  profile: string;
  state: 'signing' | 'valid' | 'revoked';
  tbs: Buffer;
  certificate: Buffer | null;
  not_after: Date;
  revoked_at: Date | null;
  revocation_reason: RevocationReason | null;
  /** A hold that somebody decided on, and not only a suspension of the account. */
  hold_decided: boolean;
}

const rows = (connection: Connection) => connection<CertificateRow>('certificate.certificates');

/** The certificate of an enrolment, revoked ones too: a key is certified once, and never again after its revocation. */
export const findOfEnrolment = (connection: Connection, enrolmentId: string): Promise<CertificateRow | undefined> =>
  rows(connection).where({ enrolment_id: enrolmentId }).orderBy('created_at', 'desc').first();

/** On hold it may become valid again. */
export const isRevokedForGood = ({ state, revocation_reason }: CertificateRow): boolean =>
  state === 'revoked' && revocation_reason !== 'certificateHold';

/** With which certificate of the account each is. */
export const listOfAccount = (
  connection: Connection,
  accountId: string,
): Promise<(CertificateRow & { enrolment_number: number })[]> =>
  connection('certificate.certificates as x')
    .join('certificate.enrolments as e', 'e.id', 'x.enrolment_id')
    .where('x.account_id', accountId)
    .select('x.*', 'e.number as enrolment_number');

export interface Intent {
  authorityId: string;
  crlPartition: number;
  serialNumber: Buffer;
  enrolmentId: string;
  accountId: string;
  agencyId: string;
  requestId: string | null;
  address: string;
  profile: string;
  keyKind: string;
  tbs: Buffer;
  notBefore: Date;
  notAfter: Date;
}

/** Before anything is signed: the serial number and all that will stand under the signature. */
export async function insertIntent(transaction: Transaction, intent: Intent): Promise<CertificateRow> {
  const [row] = await rows(transaction)
    .insert({
      authority_id: intent.authorityId,
      crl_partition: intent.crlPartition,
      serial_number: intent.serialNumber,
      enrolment_id: intent.enrolmentId,
      account_id: intent.accountId,
      agency_id: intent.agencyId,
      request_id: intent.requestId,
      address: intent.address,
      profile: intent.profile,
      key_kind: intent.keyKind,
      tbs: intent.tbs,
      not_before: intent.notBefore,
      not_after: intent.notAfter,
    } as never)
    .returning('*');
  return row as CertificateRow;
}

/** True when this call was the one that set it; another that signed the same intent at the same time gets false. */
export async function setSigned(
  transaction: Transaction,
  id: string,
  certificate: Buffer,
  fingerprint: Buffer,
): Promise<boolean> {
  const set = await transaction('certificate.certificates')
    .where({ id, state: 'signing' })
    .update({ state: 'valid', certificate, fingerprint_sha256: fingerprint, issued_at: transaction.fn.now() });
  return set === 1;
}

/** Locks the certificate until the transaction ends: what is decided about one is decided one after the other. */
export async function lockCertificate(transaction: Transaction, id: string): Promise<CertificateRow> {
  const row = await rows(transaction).where({ id }).forUpdate().first();
  if (!row) throw new Error('a certificate that was just there is gone');
  return row;
}

/** Revokes what is valid, turns a hold into a final reason, or one that follows the account into a decided one; false otherwise. */
export async function setRevoked(
  transaction: Transaction,
  id: string,
  revocation: { reason: RevocationReason; invalidityDate?: Date | null | undefined; holdDecided?: boolean },
): Promise<boolean> {
  const { reason, invalidityDate = null, holdDecided = false } = revocation;
  const set = await transaction('certificate.certificates')
    .where({ id })
    .where((where) => {
      where.where('state', 'valid');
      if (reason !== 'certificateHold') where.orWhere({ state: 'revoked', revocation_reason: 'certificateHold' });
      else if (holdDecided) where.orWhere({ revocation_reason: 'certificateHold', hold_decided: false });
    })
    .update({
      state: 'revoked',
      revoked_at: transaction.raw('case when revocation_reason = ? then revoked_at else now() end', [reason]),
      revocation_reason: reason,
      invalidity_date: invalidityDate,
      hold_decided: holdDecided,
    });
  return set === 1;
}

/** Ends a hold (RFC 5280 section 5.3.1 knows no other revocation that may end): one that was decided, or one that was not. */
export async function releaseHold(transaction: Transaction, id: string, decided: boolean): Promise<boolean> {
  const set = await transaction('certificate.certificates')
    .where({ id, state: 'revoked', revocation_reason: 'certificateHold', hold_decided: decided })
    .update({ state: 'valid', revoked_at: null, revocation_reason: null, hold_decided: false });
  return set === 1;
}

/** With certificates still in use, and ended with their agency. */
export const listAccountsOfClosed = (connection: Connection): Promise<string[]> =>
  connection('directory.agencies_v as g')
    .join('directory.accounts_v as c', 'c.agency_id', 'g.id')
    .join('certificate.certificates as x', 'x.account_id', 'c.id')
    .where('g.status', 'closed')
    .whereIn('c.kind', ['agency', 'service'])
    .where('x.not_after', '>', connection.fn.now())
    .where((where) => where.where('x.state', 'valid').orWhere('x.revocation_reason', 'certificateHold'))
    .distinct()
    .pluck('x.account_id');

export const listAccountsOfExpired = (connection: Connection, hours: number): Promise<string[]> =>
  connection('certificate.certificates')
    .where({ state: 'valid' })
    .whereRaw('not_after between now() - make_interval(hours => ?) and now()', [hours])
    .distinct()
    .pluck('account_id');

export interface Revocation {
  serialNumber: Buffer;
  revokedAt: Date;
  reason: RevocationReason;
  invalidityDate: Date | null;
  notAfter: Date;
}

const revocations = (connection: Connection, list: { authorityId: string; partition: number }) =>
  connection('certificate.certificates')
    .where({ authority_id: list.authorityId, crl_partition: list.partition, state: 'revoked' })
    .orderBy('serial_number')
    .select<Revocation[]>(
      'serial_number as serialNumber',
      'revoked_at as revokedAt',
      'revocation_reason as reason',
      'invalidity_date as invalidityDate',
      'not_after as notAfter',
    );

/**
 * What a CRL lists in a range of serial numbers: revoked, and not yet expired when the last list was made, because one list after
 * its end must still have it (RFC 5280 section 3.3).
 */
export const listRevoked = (
  connection: Connection,
  list: { authorityId: string; partition: number },
  range: { from: Buffer; to: Buffer | undefined },
  lastUpdate: Date,
  limit: number,
): Promise<Revocation[]> =>
  revocations(connection, list)
    .where('not_after', '>', lastUpdate)
    .where('serial_number', '>=', range.from)
    .modify((query) => {
      if (range.to) query.where('serial_number', '<', range.to);
    })
    .limit(limit);

/** Those among these serial numbers that are revoked. */
export const findRevocations = (
  connection: Connection,
  list: { authorityId: string; partition: number },
  serialNumbers: readonly Buffer[],
): Promise<Revocation[]> =>
  revocations(connection, list).whereRaw('serial_number = any(?::bytea[])', [serialNumbers as never]);

interface ListRow {
  id: string;
  authority_id: string;
  serial_number: Buffer;
  issuer: string;
  account_id: string;
  address: string;
  display_name: string;
  agency_code: string;
  agency_name: string;
  enrolment_id: string;
  path: Certificate['path'];
  profile: string;
  key_kind: string;
  state: 'signing' | 'valid' | 'revoked';
  certificate: Buffer | null;
  fingerprint_sha256: Buffer | null;
  not_before: Date;
  not_after: Date;
  created_at: Date;
  issued_at: Date | null;
  revoked_at: Date | null;
  revocation_reason: RevocationReason | null;
  invalidity_date: Date | null;
  revoke_at: Date | null;
  picked_up_at: Date | null;
  request_id: string | null;
  submitted_by_name: string | null;
  submitted_at: Date | null;
  approved_by_name: string | null;
  approved_at: Date | null;
  decision_number: string | null;
}

/** One account, for whoever holds it; a holder of an earlier epoch than the account's sees nothing of it any more. */
export interface HolderScope {
  accountId: string;
  credentialEpoch: number;
}

/** An agency whose subtree the reader sees, or one account. */
export type Scope = { agencyCode: string } | HolderScope;

const certificates = (connection: Connection, scope: Scope) =>
  connection('certificate.certificates as x')
    .join('certificate.authorities as i', 'i.id', 'x.authority_id')
    .join('certificate.enrolments as e', 'e.id', 'x.enrolment_id')
    .join('directory.accounts_v as c', 'c.id', 'x.account_id')
    .leftJoin('certificate.scheduled_revocations as s', 's.certificate_id', 'x.id')
    .modify((query) => {
      if ('accountId' in scope)
        query.where({ 'x.account_id': scope.accountId, 'c.credential_epoch': scope.credentialEpoch });
      else query.whereRaw('x.agency_id in (select directory.agency_subtree(?))', [scope.agencyCode]);
    })
    .select<ListRow[]>(
      'x.*',
      'i.name as issuer',
      'c.display_name',
      'c.agency_code',
      'c.agency_name',
      'e.path',
      'e.picked_up_at',
      's.revoke_at',
      'c.submitted_by_name',
      'c.submitted_at',
      'c.approved_by_name',
      'c.approved_at',
      'c.decision_number',
    );

const toCertificate = (row: ListRow): Certificate => ({
  serialNumber: row.serial_number.toString('hex'),
  issuer: row.issuer,
  accountId: row.account_id,
  address: row.address,
  displayName: row.display_name,
  agencyCode: row.agency_code,
  agencyName: row.agency_name,
  enrolmentId: row.enrolment_id,
  path: row.path,
  profile: row.profile,
  keyKind: row.key_kind,
  state: row.state === 'valid' && row.not_after < new Date() ? 'expired' : row.state,
  fingerprintSha256: row.fingerprint_sha256?.toString('hex') ?? null,
  notBefore: row.not_before.toISOString(),
  notAfter: row.not_after.toISOString(),
  issuedAt: row.issued_at?.toISOString() ?? null,
  revokedAt: row.revoked_at?.toISOString() ?? null,
  revocationReason: row.revocation_reason,
  invalidityDate: row.invalidity_date?.toISOString() ?? null,
  revocationScheduledAt: row.revoke_at?.toISOString() ?? null,
  pickedUpAt: row.picked_up_at?.toISOString() ?? null,
  requestId: row.request_id,
  submittedBy: row.submitted_by_name,
  submittedAt: row.submitted_at?.toISOString() ?? null,
  approvedBy: row.approved_by_name,
  approvedAt: row.approved_at?.toISOString() ?? null,
  decisionNumber: row.decision_number,
});

export async function requireCertificate(
  connection: Connection,
  serialNumber: Buffer,
  scope: Scope,
): Promise<{ wire: Certificate; der: Buffer | null; id: string; authorityId: string }> {
  const [row] = await certificates(connection, scope).where('x.serial_number', serialNumber);
  if (row) return { wire: toCertificate(row), der: row.certificate, id: row.id, authorityId: row.authority_id };
  throw new ServiceError({
    kind: 'not_found',
    code: 'certificate_not_found',
    detail: 'There is no certificate of that serial number at or below your agency.',
  });
}

export async function listCertificates(
  connection: Connection,
  filter: {
    scope: Scope;
    state?: 'signing' | 'valid' | 'revoked' | 'expired' | undefined;
    address?: string | undefined;
    requestId?: string | undefined;
    accountId?: string | undefined;
  },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<(Certificate & { id: string; createdAt: string })[]> {
  const found: ListRow[] = await certificates(connection, filter.scope)
    .modify((query) => {
      if (filter.state === 'expired') query.where('x.state', 'valid').where('x.not_after', '<', connection.fn.now());
      else if (filter.state === 'valid')
        query.where('x.state', 'valid').where('x.not_after', '>=', connection.fn.now());
      else if (filter.state) query.where('x.state', filter.state);
      if (filter.address) query.where('x.address', filter.address);
      if (filter.requestId) query.where('x.request_id', filter.requestId);
      if (filter.accountId) query.where('x.account_id', filter.accountId);
      if (after) query.whereRaw('(x.created_at, x.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'x.created_at', order: 'desc' },
      { column: 'x.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return found.map((row) => ({ ...toCertificate(row), id: row.id, createdAt: row.created_at.toISOString() }));
}
