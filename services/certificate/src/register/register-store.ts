/**
 * The register: what was issued here and what the Government's CA issued, as one list. Each of the two is filtered, ordered and cut by its
 * own indexes before they are put together, so that a page costs the same wherever in the list it lies.
 */
import type { Certificate } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import type { RevocationReason, Scope } from '../certificates/certificate-store.ts';

export interface RegisterFilter {
  source?: Certificate['source'] | undefined;
  agencyCode?: string | undefined;
  profile?: string | undefined;
  path?: Certificate['path'] | undefined;
  keyKind?: string | undefined;
  state?: Certificate['state'] | undefined;
  serialNumber?: string | undefined;
  fingerprintSha256?: string | undefined;
  address?: string | undefined;
  accountId?: string | undefined;
  requestId?: string | undefined;
  approverId?: string | undefined;
  issuedFrom?: string | undefined;
  issuedBefore?: string | undefined;
  expiresBefore?: string | undefined;
  expiresWithinDays?: number | undefined;
}

/** Newest first, or what ends first first. */
export type RegisterSort = 'newest' | 'expiry';

interface Entry {
  source: Certificate['source'];
  id: string;
  sort_at: Date;
  serial_number: Buffer;
  issuer: string;
  account_id: string;
  address: string;
  display_name: string;
  agency_code: string;
  agency_name: string;
  enrolment_id: string | null;
  path: Certificate['path'];
  profile: string;
  key_kind: string;
  state: Certificate['state'];
  fingerprint_sha256: Buffer | null;
  not_before: Date;
  not_after: Date;
  issued_at: Date | null;
  revoked_at: Date | null;
  revocation_reason: RevocationReason | null;
  invalidity_date: Date | null;
  revoke_at: Date | null;
  picked_up_at: Date | null;
  picked_up_by: string | null;
  picked_up_form: Certificate['pickedUpForm'];
  request_id: string | null;
  submitted_by_name: string | null;
  submitted_at: Date | null;
  approver_id: string | null;
  approved_by_name: string | null;
  approved_at: Date | null;
  decision_number: string | null;
}

export interface RegisterEntry {
  wire: Certificate;
  id: string;
  /** By which the list is ordered. */
  sortAt: string;
}

const sortColumn = { newest: 'created_at', expiry: 'not_after' } as const;

/** Ids of clients are UUIDs; a holder is named by the account. */
const clientName = (column: string): string =>
  `(select n.name from directory.client_names_v n where n.id = case when ${column} ~ '^[0-9a-f-]{36}$' then ${column}::uuid end)`;

const ownFrom = (rows: string): string => `${rows} x join certificate.enrolments e on e.id = x.enrolment_id
    left join directory.request_provenance_v p on p.request_id = x.request_id`;

/**
 * Rows of certificate.certificates as `x` in the form that all kinds have. What was asked for here, and decided on here by a second
 * person, goes before the request that opened the account.
 */
const own = {
  from: ownFrom('certificate.certificates'),
  columns: `'own' as source, x.id, x.created_at, x.serial_number,
    (select i.name from certificate.authorities i where i.id = x.authority_id) as issuer, x.account_id, x.address, x.agency_id,
    x.enrolment_id, e.path, x.profile, x.key_kind,
    case when x.state = 'valid' and x.not_after < now() then 'expired' else x.state end as state,
    x.fingerprint_sha256, x.not_before, x.not_after, x.issued_at, x.revoked_at, x.revocation_reason, x.invalidity_date,
    (select s.revoke_at from certificate.scheduled_revocations s where s.certificate_id = x.id) as revoke_at,
    e.picked_up_at, e.picked_up_by, e.picked_up_form, x.request_id,
    case e.asked_by_kind when 'client' then ${clientName('e.asked_by')}
      when 'holder' then (select c.display_name from directory.accounts_v c where c.id = x.account_id)
      else p.submitted_by_name end as submitted_by_name,
    case when e.asked_by is null then p.submitted_at else e.created_at end as submitted_at,
    coalesce(e.decided_by, p.approver_id::text) as approver_id,
    case when e.decided_by is null then p.approved_by_name else ${clientName('e.decided_by')} end as approved_by_name,
    coalesce(e.decided_at, p.approved_at) as approved_at, p.decision_number`,
} as const;

/** What is being signed: an entry as its certificate will have it. */
const intended = {
  from: ownFrom(
    `(select i.*, 'signing' as state, null::bytea as fingerprint_sha256, null::timestamptz as issued_at,
      null::timestamptz as revoked_at, null as revocation_reason, null::timestamptz as invalidity_date
    from certificate.intents i)`,
  ),
  columns: own.columns,
} as const;

/** Asked for by whoever drew it up, approved by whoever sent it on, with the number of the letter. */
const external = {
  from: `(select q.*, 'external-' || q.kind as profile,
      case q.state when 'issued' then 'valid' else q.state end as certificate_state, a.address
    from certificate.external_credentials q join directory.accounts_v a on a.id = q.account_id
    where q.registered_at is not null) x`,
  columns: `'external' as source, x.id, x.registered_at as created_at, x.serial_number, x.issuer, x.account_id, x.address, x.agency_id,
    null::uuid as enrolment_id, 'external' as path, x.profile, x.key_kind,
    case when x.certificate_state = 'valid' and x.not_after < now() then 'expired' else x.certificate_state end as state,
    x.fingerprint_sha256, x.not_before, x.not_after, x.registered_at as issued_at, x.revoked_at, x.revocation_reason, null::timestamptz as invalidity_date, null::timestamptz as revoke_at,
    null::timestamptz as picked_up_at, null as picked_up_by, null as picked_up_form, null::uuid as request_id,
    (select n.name from directory.client_names_v n where n.id = x.created_by) as submitted_by_name, x.created_at as submitted_at,
    x.sent_by::text as approver_id, (select n.name from directory.client_names_v n where n.id = x.sent_by) as approved_by_name,
    x.sent_at as approved_at, x.letter_number as decision_number`,
} as const;

type Condition = readonly [sql: string, ...bindings: unknown[]];

/** What the filter says, in terms of the columns of either kind. */
function conditionsOf(filter: RegisterFilter, isOwn: boolean): Condition[] {
  const { state, serialNumber, fingerprintSha256 } = filter;
  const stateColumn = isOwn ? 'x.state' : 'x.certificate_state';
  const recordedColumn = isOwn ? 'x.created_at' : 'x.registered_at';
  const issuedColumn = isOwn ? 'x.issued_at' : 'x.registered_at';
  const isValid = `${stateColumn} = 'valid' and x.not_after >= now()`;
  const given: Record<string, unknown> = {
    'x.profile = ?': filter.profile,
    'x.key_kind = ?': filter.keyKind,
    'x.serial_number = ?': serialNumber && Buffer.from(serialNumber, 'hex'),
    'x.fingerprint_sha256 = ?': fingerprintSha256 && Buffer.from(fingerprintSha256, 'hex'),
    'x.address = ?': filter.address?.toLowerCase(),
    'x.account_id = ?': filter.accountId,
    'x.agency_id = any(array(select directory.agency_subtree(?)))': filter.agencyCode,
    [isOwn ? 'coalesce(e.decided_by, p.approver_id::text) = ?' : 'x.sent_by = ?']: filter.approverId,
    [`${issuedColumn} >= ?`]: filter.issuedFrom,
    [`${issuedColumn} < ?`]: filter.issuedBefore,
    // Nothing is issued before it is on record, and that is what the list is ordered by.
    [`${recordedColumn} < ?::timestamptz`]: filter.issuedBefore,
    'x.not_after < ?': filter.expiresBefore,
    [`${isValid} and x.not_after < now() + make_interval(days => ?)`]: filter.expiresWithinDays,
    ...(isOwn && { 'x.request_id = ?': filter.requestId, 'e.path = ?': filter.path }),
  };
  const conditions = Object.entries(given).flatMap(([sql, value]): Condition[] =>
    value === undefined ? [] : [[sql, value]],
  );
  if (state === 'valid') conditions.push([isValid]);
  else if (state === 'expired') conditions.push([`${stateColumn} = 'valid' and x.not_after < now()`]);
  else if (state) conditions.push([`${stateColumn} = ?`, state]);
  return conditions;
}

/**
 * A holder sees the own; an agency what was issued for it or one below, and what accounts hold that are there now. For the agency above
 * all that is everything.
 */
async function scopeCondition(connection: Connection, scope: Scope): Promise<Condition[]> {
  if ('accountId' in scope) {
    const current = 'select from directory.accounts_v c where c.id = x.account_id and c.credential_epoch = ?';
    return [[`x.account_id = ? and exists (${current})`, scope.accountId, scope.credentialEpoch]];
  }
  const { rows } = await connection.raw<{ rows: { is_root: boolean; agencies: string[] }[] }>(
    `select exists (select from directory.agencies_v where code = :scope and parent_code is null) as is_root,
       array(select directory.agency_subtree(:scope)) as agencies`,
    { scope: scope.agencyCode },
  );
  const [{ is_root, agencies }] = rows as [{ is_root: boolean; agencies: string[] }];
  if (is_root) return [];
  const theirs = 'array(select c.id from directory.accounts_v c where c.agency_id = any(?::uuid[]))';
  return [[`(x.agency_id = any(?::uuid[]) or x.account_id = any(${theirs}))`, agencies, agencies]];
}

export async function listRegister(
  connection: Connection,
  scope: Scope,
  filter: RegisterFilter,
  sort: RegisterSort,
  limit: number,
  after: readonly [time: string, id: string] | undefined,
): Promise<RegisterEntry[]> {
  const within = await scopeCondition(connection, scope);
  const [comparison, direction] = sort === 'newest' ? ['<', 'desc'] : ['>', 'asc'];
  const parts: string[] = [];
  const bindings: unknown[] = [];
  for (const kind of [own, intended, external]) {
    const isOwn = kind !== external;
    if (filter.state !== undefined && (filter.state === 'signing') !== (kind === intended)) continue;
    if (filter.source !== undefined && (filter.source === 'own') !== isOwn) continue;
    // What the other kind alone can have.
    if (isOwn ? filter.path === 'external' : filter.requestId !== undefined) continue;
    if (!isOwn && filter.path !== undefined && filter.path !== 'external') continue;
    const column = isOwn || sort === 'expiry' ? `x.${sortColumn[sort]}` : 'x.registered_at';
    const conditions: Condition[] = [...within, ...conditionsOf(filter, isOwn)];
    if (after) conditions.push([`(${column}, x.id) ${comparison} (?::timestamptz, ?::uuid)`, ...after]);
    const where = conditions.length > 0 ? `where ${conditions.map(([sql]) => sql).join(' and ')}` : '';
    parts.push(
      `(select ${kind.columns} from ${kind.from} ${where} order by ${column} ${direction}, x.id ${direction} limit ?)`,
    );
    bindings.push(...conditions.flatMap(([, ...values]) => values), limit);
  }
  if (parts.length === 0) return [];
  const order = (row: string): string => `${row}.${sortColumn[sort]} ${direction}, ${row}.id ${direction}`;
  const { rows } = await connection.raw<{ rows: Entry[] }>(
    `select entry.*, entry.${sortColumn[sort]} as sort_at, c.display_name, a.code as agency_code, a.name as agency_name
     from (select * from (${parts.join(' union all ')}) all_kinds order by ${order('all_kinds')} limit ?) entry
     join directory.accounts_v c on c.id = entry.account_id
     join directory.agencies_v a on a.id = entry.agency_id
     order by ${order('entry')}`,
    [...bindings, limit] as never[],
  );
  return rows.map(toEntry);
}

/** In DER, of one that may be seen; null while it is being signed. */
export async function findDer(connection: Connection, { source }: Certificate, id: string): Promise<Buffer | null> {
  const table = source === 'own' ? 'certificate.certificates' : 'certificate.external_credentials';
  const row = await connection(table).where({ id }).first<{ certificate: Buffer | null } | undefined>('certificate');
  return row?.certificate ?? null;
}

const toEntry = (row: Entry): RegisterEntry => ({
  id: row.id,
  sortAt: row.sort_at.toISOString(),
  wire: {
    source: row.source,
    serialNumber: row.serial_number.toString('hex'),
    issuer: row.issuer,
    accountId: row.account_id,
    address: row.address,
    displayName: row.display_name,
    agencyCode: row.agency_code,
    agencyName: row.agency_name,
    enrolmentId: row.enrolment_id,
    externalCredentialId: row.source === 'external' ? row.id : null,
    path: row.path,
    profile: row.profile,
    keyKind: row.key_kind,
    state: row.state,
    fingerprintSha256: row.fingerprint_sha256?.toString('hex') ?? null,
    notBefore: row.not_before.toISOString(),
    notAfter: row.not_after.toISOString(),
    issuedAt: row.issued_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
    revocationReason: row.revocation_reason,
    invalidityDate: row.invalidity_date?.toISOString() ?? null,
    revocationScheduledAt: row.revoke_at?.toISOString() ?? null,
    pickedUpAt: row.picked_up_at?.toISOString() ?? null,
    pickedUpBy: row.picked_up_by,
    pickedUpForm: row.picked_up_form,
    requestId: row.request_id,
    submittedBy: row.submitted_by_name,
    submittedAt: row.submitted_at?.toISOString() ?? null,
    approvedBy: row.approved_by_name,
    approvedAt: row.approved_at?.toISOString() ?? null,
    decisionNumber: row.decision_number,
    approverId: row.approver_id,
  },
});
