/** Every query on certificate.certificates. */
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
  state: 'signing' | 'valid' | 'revoked';
  tbs: Buffer;
  certificate: Buffer | null;
  fingerprint_sha256: Buffer | null;
  not_after: Date;
  revocation_reason: RevocationReason | null;
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

/** Revokes those of `ids` that are valid, or turns a hold into a final reason; returns the ids that changed. */
export async function setRevoked(
  transaction: Transaction,
  ids: readonly string[],
  reason: RevocationReason,
): Promise<string[]> {
  const changed = await transaction('certificate.certificates')
    .whereIn('id', ids)
    .where((where) => {
      where.where('state', 'valid');
      if (reason !== 'certificateHold') where.orWhere({ state: 'revoked', revocation_reason: 'certificateHold' });
    })
    .update({ state: 'revoked', revoked_at: transaction.fn.now(), revocation_reason: reason })
    .returning<{ id: string }[]>('id');
  return changed.map((row) => row.id);
}

/** Ends a hold (RFC 5280 section 5.3.1 knows no other revocation that may end). */
export async function releaseHold(transaction: Transaction, ids: readonly string[]): Promise<string[]> {
  const changed = await transaction('certificate.certificates')
    .whereIn('id', ids)
    .where({ state: 'revoked', revocation_reason: 'certificateHold' })
    .update({ state: 'valid', revoked_at: null, revocation_reason: null })
    .returning<{ id: string }[]>('id');
  return changed.map((row) => row.id);
}

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

/**
 * What a CRL of the authority lists: revoked, and not yet expired when the last list was made, because one list after its
 * end must still have it (RFC 5280 section 3.3).
 */
export const listRevoked = (
  connection: Connection,
  authorityId: string,
  lastUpdate: Date,
): Promise<{ serial_number: Buffer; revoked_at: Date; revocation_reason: RevocationReason }[]> =>
  connection('certificate.certificates')
    .where({ authority_id: authorityId, state: 'revoked' })
    .where('not_after', '>', lastUpdate)
    .orderBy('serial_number')
    .select('serial_number', 'revoked_at', 'revocation_reason');

/** One account, for whoever holds it; a holder of an earlier epoch than the account's sees nothing of it any more. */
export interface HolderScope {
  accountId: string;
  credentialEpoch: number;
}

/** An agency whose subtree the reader sees, or one account. */
export type Scope = { agencyCode: string } | HolderScope;

export async function requireCertificate(
  connection: Connection,
  serialNumber: Buffer,
  scope: Scope,
): Promise<{ wire: Certificate; der: Buffer | null; id: string; authorityId: string }> {
  const filter = { source: 'own', serialNumber: serialNumber.toString('hex') } as const;
  const [entry] = await listRegister(connection, scope, filter, 'newest', 1, undefined);
  const row = entry && (await rows(connection).where({ id: entry.id }).first('certificate', 'authority_id'));
  if (row) return { wire: entry.wire, der: row.certificate, id: entry.id, authorityId: row.authority_id };
  throw new ServiceError({
    kind: 'not_found',
    code: 'certificate_not_found',
    detail: 'There is no certificate of that serial number at or below your agency.',
  });
}
