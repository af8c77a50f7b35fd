/** Every query on directory.reconciliation_findings. */
import type { ReconciliationFinding } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import type { Finding, Subject } from './finding.ts';

export type FindingRow = Finding & { id: string };

/** What is known of these subjects is replaced by what was found now. */
export async function replaceFindings(
  transaction: Transaction,
  runId: string,
  subjects: readonly Subject[],
  findings: readonly Finding[],
): Promise<void> {
  await transaction('directory.reconciliation_findings')
    .where({ reconciliation_id: runId })
    .whereRaw('subject = any(?)', [[...subjects]])
    .delete();
  if (findings.length === 0) return;
  await transaction.raw(
    `insert into directory.reconciliation_findings (reconciliation_id, subject, kind, account_id, agency_id, dn, attribute,
       expected, actual, last_modified_by, last_modified_at, detail)
     select ?, subject, kind, "accountId", "agencyId", dn, attribute, expected, actual, "lastModifiedBy", "lastModifiedAt", detail
     from jsonb_to_recordset(?::jsonb) as row(subject text, kind text, "accountId" uuid, "agencyId" uuid, dn text, attribute text,
       expected text[], actual text[], "lastModifiedBy" text, "lastModifiedAt" timestamptz, detail text)`,
    [runId, JSON.stringify(findings)],
  );
}

export const deleteFindings = (connection: Connection, runId: string): Promise<unknown> =>
  connection('directory.reconciliation_findings').where({ reconciliation_id: runId }).delete();

/** Of a run that ends before its time: half a comparison is no result, and a repair that was begun has failed. */
export async function abandonFindings(
  connection: Connection,
  run: { id: string; attempt: number },
  failure: string,
): Promise<void> {
  await connection.raw(
    `delete from directory.reconciliation_findings f using directory.reconciliations r
     where f.reconciliation_id = :id and r.id = :id and r.attempt = :attempt and r.state = 'comparing'`,
    { id: run.id, attempt: run.attempt },
  );
  await connection('directory.reconciliation_findings')
    .where({ reconciliation_id: run.id, state: 'repairing' })
    .update({ state: 'failed', failure });
}

export interface SubjectFilter {
  state: 'found' | 'repairing';
  kinds: readonly Finding['kind'][];
}

/** Subjects in order, after `after`, with everything found about each. */
export async function listSubjects(
  connection: Connection,
  runId: string,
  filter: SubjectFilter,
  after: string,
  limit: number,
): Promise<Map<Subject, FindingRow[]>> {
  const { rows } = await connection.raw<{ rows: FindingRow[] }>(
    `select f.id, f.subject, f.kind, f.account_id as "accountId", f.agency_id as "agencyId", f.dn, f.attribute, f.expected,
       f.actual, f.last_modified_by as "lastModifiedBy", f.last_modified_at as "lastModifiedAt", f.detail
     from directory.reconciliation_findings f
     where f.reconciliation_id = :runId and f.state = :state and f.subject in (
       select distinct subject from directory.reconciliation_findings
       where reconciliation_id = :runId and state = :state and subject > :after and kind = any(:kinds)
       order by subject limit :limit)
     order by f.subject`,
    { runId, state: filter.state, kinds: [...filter.kinds], after, limit },
  );
  return Map.groupBy(rows, (row) => row.subject);
}

export async function markFindings(
  connection: Connection,
  ids: readonly string[],
  state: 'repairing' | 'repaired' | 'failed' | 'obsolete',
  failure: string | null = null,
): Promise<void> {
  if (ids.length === 0) return;
  await connection('directory.reconciliation_findings')
    .whereRaw('id = any(?::bigint[])', [[...ids]])
    .update({ state, failure });
}

export async function countSubjects(connection: Connection, runId: string, filter: SubjectFilter): Promise<number> {
  const { rows } = await connection.raw<{ rows: [{ count: number }] }>(
    `select count(distinct subject)::int as count from directory.reconciliation_findings
     where reconciliation_id = :runId and state = :state and kind = any(:kinds)`,
    { runId, state: filter.state, kinds: [...filter.kinds] },
  );
  return rows[0].count;
}

export interface Drift {
  /** Null for everything that the run looked at. */
  agencyCode: string | null;
  drifted: number;
  entries: number;
}

/** How many entries a repair would touch, of how many: in every agency that has some, and altogether. */
export async function listDrift(
  connection: Connection,
  run: { id: string; agencyCode: string; kinds: readonly Finding['kind'][] },
) {
  const { rows } = await connection.raw<{ rows: Drift[] }>(
    `with drifted as (
       select distinct f.subject, f.agency_id from directory.reconciliation_findings f
       where f.reconciliation_id = :id and f.kind = any(:kinds)),
     by_agency as (
       select agency_id, count(*)::int as drifted from drifted where agency_id is not null group by agency_id),
     scope as (select id from directory.agency_subtree(:agencyCode) as id)
     select a.code as "agencyCode", b.drifted,
       (select count(*)::int from directory.accounts c where c.agency_id = b.agency_id) + 1 as entries
     from by_agency b join directory.agencies a on a.id = b.agency_id
     union all
     select null, (select count(*)::int from drifted),
       (select count(*)::int from directory.accounts c where c.agency_id in (select id from scope))
       + (select count(*)::int from scope)`,
    { ...run, kinds: [...run.kinds] },
  );
  return rows;
}

interface WireRow {
  id: string;
  kind: ReconciliationFinding['kind'];
  state: ReconciliationFinding['state'];
  account_id: string | null;
  agency_code: string | null;
  dn: string;
  attribute: string | null;
  expected: string[];
  actual: string[];
  last_modified_by: string | null;
  last_modified_at: Date | null;
  detail: string | null;
  failure: string | null;
}

export async function listFindings(
  connection: Connection,
  filter: { runId: string; kind?: string | undefined; state?: string | undefined },
  limit: number,
  after: string | undefined,
): Promise<ReconciliationFinding[]> {
  const rows: WireRow[] = await connection('directory.reconciliation_findings as f')
    .leftJoin('directory.agencies as a', 'a.id', 'f.agency_id')
    .where('f.reconciliation_id', filter.runId)
    .modify((query) => {
      if (filter.kind) query.where('f.kind', filter.kind);
      if (filter.state) query.where('f.state', filter.state);
      if (after) query.where('f.id', '>', after);
    })
    .orderBy('f.id')
    .limit(limit + 1)
    .select('f.*', 'a.code as agency_code');
  return rows.map((row) => ({
    id: String(row.id),
    kind: row.kind,
    state: row.state,
    accountId: row.account_id,
    agencyCode: row.agency_code,
    dn: row.dn,
    attribute: row.attribute,
    expected: row.expected,
    actual: row.actual,
    lastModifiedBy: row.last_modified_by,
    lastModifiedAt: row.last_modified_at?.toISOString() ?? null,
    detail: row.detail,
    failure: row.failure,
  }));
}
