/** Every query on certificate.certificates, and what is read of certificate.intents beside it. */
import type { Certificate, revocationReasons } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { listRegister } from '../register/register-store.ts';

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
  state: 'valid' | 'revoked';
  certificate: Buffer;
  fingerprint_sha256: Buffer | null;
  not_after: Date;
  revoked_at: Date | null;
  revocation_reason: RevocationReason | null;
  /** A hold that somebody decided on, and not only a suspension of the account. */
  hold_decided: boolean;
}

const rows = (connection: Connection) => connection<CertificateRow>('certificate.certificates');

/** The certificate of an enrolment, revoked ones too: a key is certified once, and never again after its revocation. */
export const findOfEnrolment = (connection: Connection, enrolmentId: string): Promise<CertificateRow | undefined> =>
  rows(connection).where({ enrolment_id: enrolmentId }).first();

export const listOfEnrolments = (
  connection: Connection,
  enrolmentIds: readonly string[],
): Promise<Pick<CertificateRow, 'enrolment_id' | 'certificate'>[]> =>
  rows(connection).whereIn('enrolment_id', enrolmentIds).select('enrolment_id', 'certificate');

/** On hold it may become valid again. */
export const isRevokedForGood = ({
  state,
  revocation_reason,
}: Pick<CertificateRow, 'state' | 'revocation_reason'>): boolean =>
  state === 'revoked' && revocation_reason !== 'certificateHold';

/** With which certificate of the account each is. */
export const listOfAccount = (
  connection: Connection,
  accountId: string,
): Promise<(CertificateRow & { enrolment_number: number; credential_epoch: number })[]> =>
  connection('certificate.certificates as x')
    .join('certificate.enrolments as e', 'e.id', 'x.enrolment_id')
    .where('x.account_id', accountId)
    .select('x.*', 'e.number as enrolment_number', 'e.credential_epoch');

export interface Intent {
  id: string;
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

/** Intents that have waited for their signature for so long that whoever was to make it must be gone, the oldest first. */
export const listForsaken = (
  connection: Connection,
  seconds: number,
  limit: number,
): Promise<{ enrolment_id: string; account_id: string }[]> =>
  connection('certificate.intents')
    .whereRaw('created_at < now() - make_interval(secs => ?)', [seconds])
    .orderBy('created_at')
    .limit(limit)
    .select('enrolment_id', 'account_id');

/** The valid certificates, in DER, of each account that has one. */
export async function listValid(
  connection: Connection,
  accountIds: readonly string[],
): Promise<Map<string, { profile: string; certificate: Buffer }[]>> {
  const found = await rows(connection)
    .whereIn('account_id', accountIds)
    .where({ state: 'valid' })
    .where('not_after', '>', connection.fn.now())
    .select<{ account_id: string; profile: string; certificate: Buffer }[]>('account_id', 'profile', 'certificate');
  return Map.groupBy(found, ({ account_id }) => account_id);
}

/**
 * Locks the certificate until the transaction ends: what is decided about one is decided one after the other. What the register has and
 * is not here is an intent still.
 */
export async function lockCertificate(transaction: Transaction, id: string): Promise<CertificateRow> {
  const row = await rows(transaction).where({ id }).forUpdate().first();
  if (row) return row;
  throw new ServiceError({
    kind: 'conflict',
    code: 'certificate_state',
    detail: 'The certificate is just being made; try again in a moment.',
  });
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

/**
 * Accounts of some of those that ran out since the last call, in the order of their ends, and remembers up to where it came; none when
 * nothing is left. One caller at a time.
 */
export async function takeExpired(transaction: Transaction, about: number): Promise<string[]> {
  await transaction.raw('select from certificate.withdrawals for update');
  const { rows } = await transaction.raw<{ rows: { account_id: string }[] }>(
    `with part as (
       select w.until as after, coalesce((select x.not_after from certificate.certificates x
         where x.state = 'valid' and x.not_after > w.until and x.not_after <= now() order by x.not_after offset ? limit 1), now()) as upto
       from certificate.withdrawals w),
     moved as (update certificate.withdrawals w set until = part.upto from part where part.upto > w.until)
     select distinct x.account_id from certificate.certificates x, part
     where x.state = 'valid' and x.not_after > part.after and x.not_after <= part.upto`,
    [about - 1],
  );
  return rows.map((row) => row.account_id);
}

/** As a list has it. */
export interface Revocation {
  serialNumber: Buffer;
  revocationDate: Date;
  reason: RevocationReason;
  invalidityDate: Date | null;
  notAfter: Date;
}

interface CrlSource {
  authorityId: string;
  partition: number;
  /** Nothing was revoked later than the list says it was made, whatever clock said so. */
  thisUpdate: Date;
}

interface RevocationRow {
  serial_number: Buffer;
  revocation_reason: RevocationReason;
  revoked: number;
  ends: number;
  invalid: number | null;
}

/** Times as numbers: making dates of texts would be most of what reading a hundred thousand costs. */
const revocations = (connection: Connection, list: CrlSource) =>
  connection('certificate.certificates')
    .where({ authority_id: list.authorityId, crl_partition: list.partition, state: 'revoked' })
    .orderBy('serial_number')
    .select<RevocationRow[]>(
      'serial_number',
      'revocation_reason',
      connection.raw('extract(epoch from least(revoked_at, ?::timestamptz))::float8 as revoked', [list.thisUpdate]),
      connection.raw('extract(epoch from not_after)::float8 as ends'),
      connection.raw('extract(epoch from invalidity_date)::float8 as invalid'),
    );

const toRevocation = (row: RevocationRow): Revocation => ({
  serialNumber: row.serial_number,
  revocationDate: new Date(row.revoked * 1_000),
  reason: row.revocation_reason,
  invalidityDate: row.invalid === null ? null : new Date(row.invalid * 1_000),
  notAfter: new Date(row.ends * 1_000),
});

/**
 * What a CRL lists in a range of serial numbers: revoked, and not yet expired when the last list was made, because one list after
 * its end must still have it (RFC 5280 section 3.3).
 */
export async function listRevoked(
  connection: Connection,
  list: CrlSource & { lastUpdate: Date },
  range: { from: Buffer; to: Buffer | undefined },
  limit: number,
): Promise<Revocation[]> {
  const found: RevocationRow[] = await revocations(connection, list)
    .where('not_after', '>', list.lastUpdate)
    .where('serial_number', '>=', range.from)
    .modify((query) => {
      if (range.to) query.where('serial_number', '<', range.to);
    })
    .limit(limit);
  return found.map(toRevocation);
}

/** Those among these serial numbers that are revoked. */
export async function findRevocations(
  connection: Connection,
  list: CrlSource,
  serialNumbers: readonly Buffer[],
): Promise<Revocation[]> {
  const found: RevocationRow[] = await revocations(connection, list).whereRaw('serial_number = any(?::bytea[])', [
    serialNumbers as never,
  ]);
  return found.map(toRevocation);
}

/** One account, for whoever holds it; a holder of an earlier epoch than the account's sees nothing of it any more. */
export interface HolderScope {
  accountId: string;
  credentialEpoch: number;
}

/** An agency whose subtree the reader sees, or one account. */
export type Scope = { agencyCode: string } | HolderScope;

/** `issued` is undefined while it is being signed. */
export async function requireCertificate(
  connection: Connection,
  serialNumber: Buffer,
  scope: Scope,
): Promise<{ wire: Certificate; id: string; issued: { der: Buffer; authorityId: string } | undefined }> {
  const filter = { source: 'own', serialNumber: serialNumber.toString('hex') } as const;
  const [entry] = await listRegister(connection, scope, filter, 'newest', 1, undefined);
  if (entry) {
    const row = await rows(connection).where({ id: entry.id }).first('certificate', 'authority_id');
    return { ...entry, issued: row && { der: row.certificate, authorityId: row.authority_id } };
  }
  throw new ServiceError({
    kind: 'not_found',
    code: 'certificate_not_found',
    detail: 'There is no certificate of that serial number at or below your agency.',
  });
}
