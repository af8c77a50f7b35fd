/** Every query on certificate.certificates. */
import type { Certificate, revocationReasons } from '@congvu/contracts';
import { type Connection, prepared, type Transaction } from '@congvu/database';
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
  revocation_reason: RevocationReason | null;
}

const rows = (connection: Connection) => connection<CertificateRow>('certificate.certificates');

/** The certificate of an enrolment, revoked ones too: a key is certified once, and never again after its revocation. */
export const findOfEnrolment = (connection: Connection, enrolmentId: string): Promise<CertificateRow | undefined> =>
  rows(connection).where({ enrolment_id: enrolmentId }).first();

/** The same of many, by enrolment. */
export async function listOfEnrolments(
  connection: Connection,
  enrolmentIds: readonly string[],
): Promise<Map<string, CertificateRow>> {
  if (enrolmentIds.length === 0) return new Map();
  const found: CertificateRow[] = await rows(connection).whereIn('enrolment_id', enrolmentIds);
  return new Map(found.map((row) => [row.enrolment_id, row]));
}

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

/** Before anything is signed: the serial numbers and all that will stand under the signatures. */
export async function insertIntents(transaction: Transaction, intents: readonly Intent[]): Promise<void> {
  if (intents.length === 0) return;
  const column = <K extends keyof Intent>(name: K): Intent[K][] => intents.map((intent) => intent[name]);
  await prepared(
    transaction,
    'insert-intents',
    `insert into certificate.certificates (id, authority_id, serial_number, enrolment_id, account_id, agency_id, request_id, address,
       profile, key_kind, tbs, not_before, not_after, crl_partition)
     select * from unnest(?::uuid[], ?::uuid[], ?::bytea[], ?::uuid[], ?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[],
       ?::bytea[], ?::timestamptz[], ?::timestamptz[], ?::int[])`,
    [
      column('id'),
      column('authorityId'),
      column('serialNumber'),
      column('enrolmentId'),
      column('accountId'),
      column('agencyId'),
      column('requestId'),
      column('address'),
      column('profile'),
      column('keyKind'),
      column('tbs'),
      column('notBefore'),
      column('notAfter'),
      column('crlPartition'),
    ],
  );
}

/**
 * Stores the certificates of intents that wait for one. What is in the answer was stored before, by another that signed the same
 * intent at the same time, and is the certificate: of an ECDSA key the two signatures differ.
 */
export async function setSigned(
  transaction: Transaction,
  signed: readonly { id: string; certificate: Buffer; fingerprint: Buffer }[],
): Promise<Map<string, Buffer>> {
  const { rows: set } = await prepared<{ id: string }>(
    transaction,
    'set-signed',
    `update certificate.certificates c
     set state = 'valid', certificate = item.certificate, fingerprint_sha256 = item.fingerprint, issued_at = now()
     from unnest(?::uuid[], ?::bytea[], ?::bytea[]) as item(id, certificate, fingerprint)
     where c.id = item.id and c.state = 'signing' returning c.id`,
    [
      signed.map(({ id }) => id),
      signed.map(({ certificate }) => certificate),
      signed.map(({ fingerprint }) => fingerprint),
    ],
  );
  const isSet = new Set(set.map(({ id }) => id));
  const others = signed.flatMap(({ id }) => (isSet.has(id) ? [] : [id]));
  if (others.length === 0) return new Map();
  const before: CertificateRow[] = await rows(transaction).whereIn('id', others);
  return new Map(before.map(({ id, certificate }) => [id, certificate as Buffer]));
}

/** Intents that have waited for their signature for so long that whoever was to make it must be gone, the oldest first. */
export const listForsaken = (
  connection: Connection,
  seconds: number,
  limit: number,
): Promise<{ enrolment_id: string; account_id: string }[]> =>
  rows(connection)
    .where({ state: 'signing' })
    .whereRaw('created_at < now() - make_interval(secs => ?)', [seconds])
    .orderBy('created_at')
    .limit(limit)
    .select('enrolment_id', 'account_id');

/** DER of the valid certificates of each account that has one. */
export async function listValid(connection: Connection, accountIds: readonly string[]): Promise<Map<string, Buffer[]>> {
  const found = await rows(connection)
    .whereIn('account_id', accountIds)
    .where({ state: 'valid' })
    .where('not_after', '>', connection.fn.now())
    .select('account_id', 'certificate');
  const byAccount = Map.groupBy(found, ({ account_id }) => account_id);
  return new Map([...byAccount].map(([id, some]) => [id, some.map(({ certificate }) => certificate as Buffer)]));
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

export const listAccountsOfExpired = (connection: Connection, hours: number): Promise<string[]> =>
  connection('certificate.certificates')
    .where({ state: 'valid' })
    .whereRaw('not_after between now() - make_interval(hours => ?) and now()', [hours])
    .distinct()
    .pluck('account_id');

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
