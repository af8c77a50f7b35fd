/**
 * What in the record stands against lines: people who have accounts, agencies that closed, accounts in another state, other
 * requests for the same. Asked when a request is submitted, and again when its lines are carried out, which may be weeks later.
 */
import type { RequestOperation } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import type { LineToCheck } from './line-store.ts';

export interface Obstacle {
  lineNumber: number;
  /** Of the line, as it stands on the wire. */
  field: 'nationalId' | 'agencyCode' | 'toAgencyCode' | 'title' | 'account';
  code: string;
  detail: string;
}

/** Lines that are on record, of a draft or waiting to be carried out, all or some by their numbers. */
export interface StoredLines {
  state: 'draft' | 'waiting';
  from?: number;
  to?: number;
  /** What is among them, where that is known. */
  kinds?: ReadonlySet<string>;
}

/** What stands against a line goes by what it opens; `change`: it opens nothing. */
export const kindOfLine = ({ operation, kind }: { operation: string; kind: string | null }): string =>
  operation === 'open' && kind !== null ? kind : 'change';

/** `request`: the lines' own, if it is on record, and its agency. Lines by the thousand, one query; at most `limit` obstacles. */
export async function findObstacles(
  connection: Connection,
  request: { id: string | null; agencyCode: string },
  lines: readonly LineToCheck[] | StoredLines,
  limit?: number,
): Promise<Obstacle[]> {
  const about = { request: request.id, agency: request.agencyCode, limit: limit ?? null };
  const { kinds, ...stored } = 'state' in lines ? lines : { kinds: new Set(lines.map(kindOfLine)) };
  const query =
    'state' in lines
      ? connection.raw(obstaclesTo(storedLines[lines.state], kinds), { ...about, from: 1, to: 2 ** 31 - 1, ...stored })
      : connection.raw(obstaclesTo(givenLines, kinds), { ...about, lines: JSON.stringify(lines.map(toGiven)) });
  const { rows }: { rows: FoundRow[] } = await query;
  return rows.map((row) => ({ lineNumber: row.line_number, code: row.code, ...describe(row) }));
}

const toGiven = ({ nationalIdHash, lineNumber, operation, kind, agencyId, targetAccountId, title }: LineToCheck) => {
  return { lineNumber, operation, kind, agencyId, targetAccountId, title, hash: nationalIdHash?.toString('hex') };
};

const givenLines = `
  select row.*, decode(row.hash, 'hex') as id_hash
  from json_to_recordset(:lines::json) as row("lineNumber" int, operation text, kind text, "agencyId" uuid,
    "targetAccountId" uuid, title text, hash text)`;

const linesWhere = (condition: string): string => `
  select line_number as "lineNumber", operation, kind, agency_id as "agencyId", target_account_id as "targetAccountId", title,
    national_id_hash as id_hash
  from directory.request_lines
  where request_id = :request and ${condition} and line_number between :from and :to`;
const storedLines = { draft: linesWhere("state = 'draft'"), waiting: linesWhere('waiting') };

interface FoundRow {
  line_number: number;
  operation: RequestOperation;
  code: keyof typeof details;
  subject: string | null;
}

/**
 * Lines that wait are looked up one by one (lateral, offset 0), each by the unique index that lets one alone wait: beside a request of
 * tens of thousands of lines that changed their state a moment ago, a join is planned for the few that were counted before.
 */
const obstaclesTo = (lines: string, kinds: ReadonlySet<string> | undefined): string => `
with line as materialized (${lines}),
opens as (select * from line where operation = 'open'),
about as (
  select line.*, c.id, c.kind as account_kind, c.state, c.username, c.agency_id, c.certificate_path
  from line join directory.accounts c on c.id = line."targetAccountId" where operation <> 'open'),
person_waiting as (
  select opens.* from opens cross join lateral (
    select w.request_id from directory.request_lines w where w.national_id_hash = id_hash and w.operation = 'open'
      and w.kind = 'person' and w.waiting offset 0) w
  where opens.kind = 'person' and w.request_id is distinct from :request::uuid),
agency_waiting as (
  select opens.* from opens cross join lateral (
    select w.request_id from directory.request_lines w where w.agency_id = opens."agencyId" and w.operation = 'open'
      and w.kind = 'agency' and w.waiting offset 0) w
  where opens.kind = 'agency' and w.request_id is distinct from :request::uuid),
operation_waiting as (
  select about.* from about cross join lateral (
    select w.request_id from directory.request_lines w where w.target_account_id = about.id and w.operation = about.operation
      and w.operation <> 'open' and w.waiting offset 0) w
  where w.request_id is distinct from :request::uuid)
select "lineNumber" as line_number, operation, code, subject from (
${branches
  .filter(({ of }) => of === undefined || kinds === undefined || kinds.has(of))
  .map(({ sql }) => sql)
  .join('\nunion all\n')}
) found
order by 1, 3 limit :limit`;

/** What is asked of lines that open an account of one kind, of those that change one, or of all. */
const branches: readonly { of?: 'person' | 'agency' | 'position' | 'change'; sql: string }[] = [
  {
    sql: `select "lineNumber", operation, 'agency_closed' as code, case when a.valid_to <= directory.today()
      then a.code || ' closed on ' || a.valid_to || coalesce('; ask for ' || s.code || ', which took over', '')
      else a.code || ' exists only from ' || a.valid_from || ' on' end as subject
  from line join directory.agencies a on a.id = "agencyId" left join directory.agencies s on s.id = a.successor_id
  where directory.agency_status(a.valid_from, a.valid_to, directory.today()) <> 'active' and operation in ('open', 'transfer')`,
  },
  {
    of: 'person',
    sql: `select "lineNumber", operation, 'person_has_account', null
  from opens join directory.people p on p.national_id_hash = id_hash
  join directory.accounts c on c.person_id = p.id and c.state <> 'retired' where opens.kind = 'person'`,
  },
  {
    of: 'person',
    sql: `select "lineNumber", operation, 'person_has_request', null from person_waiting`,
  },
  {
    of: 'agency',
    sql: `select "lineNumber", operation, 'agency_has_account', c.address
  from opens join directory.accounts c on c.agency_id = "agencyId" and c.kind = 'agency' and c.state <> 'retired'
  where opens.kind = 'agency'`,
  },
  {
    of: 'agency',
    sql: `select "lineNumber", operation, 'agency_has_request', null from agency_waiting`,
  },
  {
    of: 'position',
    sql: `select "lineNumber", operation, 'position_has_account', c.address
  from opens join directory.accounts c on c.agency_id = "agencyId" and c.kind = 'position' and c.state <> 'retired'
    and lower(c.title) = lower(opens.title)
  where opens.kind = 'position'`,
  },
  {
    of: 'change',
    sql: `select "lineNumber", operation, 'account_outside_request', username from about
  where agency_id not in (select directory.agency_subtree(:agency))`,
  },
  {
    of: 'change',
    sql: `select "lineNumber", operation, 'account_there_already', username from about
  where operation = 'transfer' and agency_id = "agencyId"`,
  },
  {
    of: 'change',
    sql: `select "lineNumber", operation, 'account_kind', username || ' is an account of kind ' || account_kind from about
  where account_kind not in ('person', 'position', 'agency')
    or operation not in ('close', 'issue_certificate', 'revoke_certificate') and account_kind <> 'person'`,
  },
  {
    of: 'change',
    sql: `select "lineNumber", operation, 'account_state', username || ' is ' || state from about
  where state = 'retired' or operation = 'issue_certificate' and state <> 'active'`,
  },
  {
    of: 'change',
    sql: `select "lineNumber", operation, 'account_without_certificate', username from about
  where operation = 'revoke_certificate' and certificate_path = 'none'`,
  },
  {
    of: 'change',
    sql: `select "lineNumber", operation, 'account_has_request', username from operation_waiting`,
  },
];

const details = {
  agency_closed: (subject) => `The agency ${subject}.`,
  person_has_account: () =>
    'The person with this identity number has an account already; ask for its transfer instead.',
  person_has_request: () => 'Another request for the person with this identity number waits for its decision.',
  agency_has_account: (address) => `The agency has its mailbox already, ${address}; leave this line out.`,
  agency_has_request: () => 'Another request for the mailbox of this agency waits for its decision.',
  position_has_account: (address) =>
    `The agency has an account for an office of this name already, ${address}; name this one differently.`,
  account_outside_request: (username) =>
    `The account ${username} does not lie at or below the agency for which this request is made.`,
  account_there_already: (username) => `The account ${username} belongs to that agency already.`,
  account_kind: (subject, operation) => `The account ${subject}, for which there is no ${wordsOf(operation)}.`,
  account_state: (subject, operation) => `The account ${subject}, which allows no ${wordsOf(operation)}.`,
  account_without_certificate: (username) => `The account ${username} has no certificate that could be revoked.`,
  account_has_request: (username, operation) =>
    `Another request for the ${wordsOf(operation)} of the account ${username} waits for its decision.`,
} satisfies Record<string, (subject: string | null, operation: RequestOperation) => string>;

const words: Readonly<Record<RequestOperation, string>> = {
  open: 'opening',
  close: 'closing',
  transfer: 'transfer',
  rename: 'renaming',
  change_position: 'change of position',
  issue_certificate: 'new certificate',
  revoke_certificate: 'revocation of the certificate',
};
const wordsOf = (operation: RequestOperation): string => words[operation];

function describe({ code, subject, operation }: FoundRow): Pick<Obstacle, 'field' | 'detail'> {
  const field = code.startsWith('person_')
    ? 'nationalId'
    : code === 'position_has_account'
      ? 'title'
      : !code.startsWith('agency_')
        ? 'account'
        : operation === 'transfer'
          ? 'toAgencyCode'
          : 'agencyCode';
  return { field, detail: details[code](subject, operation) };
}
