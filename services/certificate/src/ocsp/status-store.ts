/** The queries by which statuses are read: which have changed since the last time, and of those that are asked for. */
import { type Connection, openReader } from '@congvu/database';
import type { RevocationReason } from '../authority/crl.ts';
import type { KnownStatus } from './prepared-answers.ts';

export interface SerialOf {
  readonly authorityId: string;
  readonly serialNumber: Buffer;
}

export interface StatusesRead {
  /** To be given back at the next read. */
  readonly snapshot: string;
  /** Whose status was changed since `since`; undefined when they are more than can be named. */
  readonly changed: readonly SerialOf[] | undefined;
  /** In the order of `asked`; undefined for what was not issued. */
  readonly statuses: readonly (KnownStatus | undefined)[];
}

export interface StatusReader {
  read(since: string | null, asked: readonly SerialOf[]): Promise<StatusesRead>;
  close(): Promise<void>;
}

const maximumChanged = 10_000;
/** An answer that comes later than this is of no use to who asks. */
const timeoutMs = 5_000;

/**
 * Each in one statement, so of one snapshot. A change is new if its transaction is not visible in the snapshot of the last time: that
 * holds whatever the order in which transactions begin and end. Numbers from beyond our snapshot come from a restored dump.
 * An intent that nobody has signed yet was not issued. Nearly always nothing is asked but whether anything has changed.
 */
const changes = `
select pg_current_snapshot(),
  array_to_string(array(select authority_id::text || encode(serial_number, 'hex') from certificate.certificates
    where status_changed_in >= pg_snapshot_xmin($1::pg_snapshot)
      and status_changed_in < pg_snapshot_xmax(pg_current_snapshot())
      and not pg_visible_in_snapshot(status_changed_in, $1::pg_snapshot)
    limit ${maximumChanged + 1}), ',')`;
const changesAndStatuses = `${changes},
  array_to_string(array(select coalesce(
    (select case x.state when 'revoked'
        then x.revocation_reason || ' ' || floor(extract(epoch from x.revoked_at))::text else x.state end
      from certificate.certificates x
      where x.authority_id = asked.authority_id and x.serial_number = decode(asked.serial_number, 'hex') limit 1),
    (select 'valid' from certificate.ocsp_responders r
      where r.authority_id = asked.authority_id and r.serial_number = decode(asked.serial_number, 'hex')
        and r.certificate is not null),
    'unknown')
    from rows from (unnest($2::uuid[]), unnest($3::text[])) with ordinality as asked (authority_id, serial_number, place)
    order by place), ',')`;

/** `onLost`: the database may be another from now on, and what was read before is worth nothing. */
export function openStatusReader(url: string, onLost: () => void): StatusReader {
  const statements = { changes, changesAndStatuses };
  const reader = openReader({ url, name: 'certificate ocsp', statements, timeoutMs, onLost });
  return {
    read: async (since, asked) => {
      const [row] =
        asked.length === 0
          ? await reader.read('changes', [since])
          : await reader.read('changesAndStatuses', [
              since,
              `{${asked.map(({ authorityId }) => authorityId).join()}}`,
              `{${asked.map(({ serialNumber }) => serialNumber.toString('hex')).join()}}`,
            ]);
      const [snapshot, changed, statuses = ''] = row as [string, string, string?];
      const found = partsOf(changed);
      return {
        snapshot,
        changed: found.length > maximumChanged ? undefined : found.map(toSerialOf),
        statuses: partsOf(statuses).map(toStatus),
      };
    },
    close: () => reader.close(),
  };
}

const partsOf = (text: string): string[] => (text === '' ? [] : text.split(','));

const toSerialOf = (text: string): SerialOf => ({
  authorityId: text.slice(0, 36),
  serialNumber: Buffer.from(text.slice(36), 'hex'),
});

function toStatus(text: string): KnownStatus | undefined {
  if (text === 'unknown') return undefined;
  if (text === 'valid') return { kind: 'good' };
  const [reason, seconds] = text.split(' ');
  return { kind: 'revoked', reason: reason as RevocationReason, revokedAt: new Date(Number(seconds) * 1000) };
}

export interface Issued extends SerialOf {
  readonly createdAt: string;
  readonly id: string;
}

/** Certificates that were issued and have not ended, the newest first. */
export async function listIssued(
  connection: Connection,
  after: Issued | undefined,
  limit: number,
): Promise<readonly Issued[]> {
  const rows: { id: string; authority_id: string; serial_number: Buffer; created_at: Date }[] = await connection(
    'certificate.certificates',
  )
    .where('not_after', '>', connection.fn.now())
    .modify((query) => {
      if (after) query.whereRaw('(created_at, id) < (?::timestamptz, ?::uuid)', [after.createdAt, after.id]);
    })
    .orderBy([
      { column: 'created_at', order: 'desc' },
      { column: 'id', order: 'desc' },
    ])
    .limit(limit)
    .select('id', 'authority_id', 'serial_number', 'created_at');
  return rows.map((row) => ({
    id: row.id,
    authorityId: row.authority_id,
    serialNumber: row.serial_number,
    createdAt: row.created_at.toISOString(),
  }));
}
