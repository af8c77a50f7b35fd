/**
 * Makes the mailboxes of accounts what the accounts say, many at a time: the record with its audit events, the mail attributes of the
 * LDAP entries, no session of one that is not active or of whoever held it before, and for a new one the welcome message, with which
 * Dovecot makes its store. Guaranteed:
 * - repeated, also after being killed at any line, it does what is still to be done and nothing twice;
 * - a mailbox counts as provisioned only after LDAP says all of it;
 * - of two jobs that overlap the older never has the last word: whatever changed while LDAP was written is done again;
 * - one that fails holds up no other.
 */
import { addJobs, type Database, type JobSpec, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { diffAttributes, distinguishedName, type Ldap, NoSuchObjectError, type Operation } from '@congvu/ldap';
import { keepFormerAddresses } from '../aliases/alias-store.ts';
import { listRoutes, type MailRoutes, noRoutes } from '../aliases/forward-store.ts';
import { type AuditEvent, recordEvents, systemActor } from '../audit/audit-event.ts';
import { ensureDomains, queueDomains } from '../domains/converge-domains.ts';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { endLostRoles } from '../groups/end-roles.ts';
import { identityOf, listWaitingFor, noticeJob } from '../notices/notice-store.ts';
import { queueStateNotices, type RecordedState } from '../notices/queue-notices.ts';
import { refreshListKeys } from '../usage/usage-store.ts';
import { endRightsLeft } from './end-rights.ts';
import { basicAttributes, listFurtherAttributes, mailAttributeNames, routeAttributes } from './mail-attributes.ts';
import { type MailboxPolicy, wantedMailbox } from './mailbox.ts';
import {
  findChanged,
  insertMailboxes,
  listKinds,
  listSources,
  lockMailboxes,
  type MailboxRow,
  type MailboxSource,
  markProvisioned,
  markSessionsEnded,
  updateMailboxes,
  type WantedMailbox,
} from './mailbox-store.ts';
import { queueForwarders, queueShared } from './queue-mailboxes.ts';
import { listAssignedQuotas, listClassSizes } from './quota-store.ts';

export interface MailboxDependencies extends MailboxPolicy {
  database: Database;
  ldap: Ldap;
  doveadm: Doveadm;
  baseDn: string;
  /** The province's own mail domain. */
  domain: string;
  /** How long an address that is not a mailbox's own any more still leads to it. */
  aliasDays: number;
}

interface Pair {
  source: MailboxSource;
  mailbox: MailboxRow;
  routes: MailRoutes;
  /** Put on record a moment ago. */
  isNew: boolean;
}

export async function convergeMailboxes(
  dependencies: MailboxDependencies,
  accountIds: readonly string[],
): Promise<void> {
  const { database, ldap, doveadm, baseDn } = dependencies;
  const failed = new Map<string, Error>();
  let ids = accountIds;
  while (ids.length > 0) {
    // 1. What should be. Before the LDAP entry is there is nothing to do: its making asks for this again.
    const sources = (await listSources(database, ids)).filter((source) => source.entryVersion > 0);
    if (sources.length === 0) break;

    // 2. The record, with its audit events.
    const pairs = await database.transaction((transaction) => recordStates(transaction, sources, dependencies));
    const known = pairs.flatMap(({ source, isNew }) => (isNew ? [] : [source.id]));
    if (known.length > 0) await endLostRoles(database, known);

    // 3. LDAP, which Postfix and Dovecot read.
    const errors = await convergeMailAttributes(database, ldap, baseDn, pairs);

    // 4. Dovecot: no session of one that is not active, nor of whoever held it before.
    for (const pair of pairs) {
      await endSessions(database, doveadm, pair).catch((error: Error) => errors.set(pair.source.id, error));
    }
    for (const [id, error] of errors) failed.set(id, error);
    const converged = pairs.filter(({ source }) => !errors.has(source.id));

    // 5. Say so, and let the notices go that waited for these mailboxes.
    const active = converged.filter(({ mailbox }) => mailbox.state === 'active');
    const first = active.filter(({ mailbox }) => !mailbox.provisioned_at).map(({ source }) => source);
    if (first.length > 0) await database.transaction((transaction) => recordProvisioned(transaction, first));
    await releaseNotices(
      database,
      active.map(({ source }) => source),
    );

    // 6. What changed meanwhile is done again.
    const changed = await findChanged(
      database,
      converged.map(({ source, mailbox }) => ({ ...source, mailboxVersion: mailbox.version })),
    );
    ids = [...new Set([...changed, ...(await findRerouted(database, converged))])];
  }
  await failSingly(database, accountIds, failed);
}

/** An account that fails alone fails its job; one among many gets a job of its own, so that it holds up no other. */
async function failSingly(database: Database, accountIds: readonly string[], failed: ReadonlyMap<string, Error>) {
  const [error] = failed.values();
  if (error && accountIds.length === 1) throw error;
  const jobs = [...failed.keys()].map((id) => ({
    task: 'converge-mailboxes',
    payload: { accountIds: [id] },
    key: `mailbox:${id}`,
  }));
  await addJobs(database, 'mailbox', jobs);
}

/** While the old password still opens sessions it would be in vain; when it is gone, the directory asks for this again. */
async function endSessions(database: Database, doveadm: Doveadm, { source, mailbox, routes }: Pair): Promise<void> {
  const handedOver = mailbox.credential_epoch < source.entryCredentialEpoch;
  if (mailbox.state === 'active' && !handedOver) return;
  // A session goes by the address that the mailbox had when it began.
  for (const address of [mailbox.address, ...routes.aliases]) await doveadm.kick(address);
  if (handedOver) await markSessionsEnded(database, source.id, source.entryCredentialEpoch);
}

async function recordStates(
  transaction: Transaction,
  sources: readonly MailboxSource[],
  policy: MailboxDependencies,
): Promise<Pair[]> {
  const assigned = await listAssignedQuotas(transaction, sources);
  const none = new Map<string, number>();
  const ids = sources.map(({ id }) => id);
  // New ones before any is locked, each in one order: of two jobs that overlap neither waits for what the other holds.
  const present = new Set((await listKinds(transaction, ids)).map(({ id }) => id));
  const first = sources
    .filter(({ id }) => !present.has(id))
    .map((source) => wantedMailbox(source, undefined, { assigned: assigned.get(source.id), sizes: none }, policy));
  const made = first.length > 0 ? await insertMailboxes(transaction, first) : new Set<string>();
  const known = ids.filter((id) => !made.has(id));
  const rows = [
    ...first.flatMap((wanted) => (made.has(wanted.accountId) ? newRow(wanted) : [])),
    ...(known.length > 0 ? await lockMailboxes(transaction, known) : []),
  ];
  const sizes = rows.some((row) => row.quota_class_by_hand) ? await listClassSizes(transaction) : none;
  const byId = new Map(rows.map((row) => [row.account_id, row]));
  const events: AuditEvent[] = [];
  const changed: WantedMailbox[] = [];
  const shownElsewhere: string[] = [];
  const states: RecordedState[] = [];
  const moved: { mailboxId: string; from: string; to: string }[] = [];
  const rerouted: string[] = [];
  const pairs: Pair[] = [];
  for (const source of sources) {
    const row = byId.get(source.id) as MailboxRow;
    if (made.has(source.id)) {
      const { address, state, quota_bytes } = row;
      events.push(eventOf(source, 'mailbox.created', null, { address, state, quotaBytes: Number(quota_bytes) }));
      pairs.push({ source, mailbox: row, routes: noRoutes, isNew: true });
      continue;
    }
    const wanted = wantedMailbox(source, row, { assigned: assigned.get(source.id), sizes }, policy);
    const { before, after } = difference(row, wanted);
    if (before) {
      changed.push(wanted);
      if ('address' in after || 'state' in after) shownElsewhere.push(source.id);
      events.push(eventOf(source, 'mailbox.changed', before, after));
      if ('address' in after || 'mailStatus' in after) rerouted.push(source.id);
      if (row.address !== wanted.address) moved.push({ mailboxId: source.id, from: row.address, to: wanted.address });
      if (row.state !== wanted.state) {
        states.push({
          accountId: source.id,
          version: source.version,
          from: row.state,
          to: wanted.state,
          wasProvisioned: row.provisioned_at !== null,
          takesMail: wanted.mailStatus === 'active' || wanted.mailStatus === 'suspended',
        });
      }
    }
    pairs.push({ source, mailbox: before ? changedRow(row, wanted) : row, routes: noRoutes, isNew: false });
  }
  await updateMailboxes(transaction, changed);
  await endRightsLeft(transaction, known);
  await queueShared(transaction, shownElsewhere);
  await recordEvents(transaction, events);
  await queueStateNotices(transaction, states);
  await queueForwarders(transaction, rerouted);
  await keepReachable(transaction, pairs, moved, policy);
  await refreshListKeys(transaction, known);
  const routes = await listRoutes(transaction, known);
  for (const pair of pairs) pair.routes = routes.get(pair.source.id) ?? noRoutes;
  return pairs;
}

/** Former addresses still lead to their mailboxes, and the first address in an agency's own domain brings it. */
async function keepReachable(
  transaction: Transaction,
  pairs: readonly Pair[],
  moved: readonly { mailboxId: string; from: string; to: string }[],
  { domain, aliasDays }: MailboxDependencies,
): Promise<void> {
  await keepFormerAddresses(transaction, moved, aliasDays);
  const addresses = [
    ...pairs.flatMap(({ isNew, source }) => (isNew ? [source.address] : [])),
    ...moved.map(({ to }) => to),
  ];
  const names = new Set(addresses.map((address) => address.slice(address.indexOf('@') + 1)));
  names.delete(domain);
  if (names.size > 0 && (await ensureDomains(transaction, domain, [...names]))) await queueDomains(transaction);
}

/** Those whose further addresses or forwards are others by now; what is new has none, and they are not written with it. */
async function findRerouted(database: Database, pairs: readonly Pair[]): Promise<string[]> {
  const rest = pairs.filter(({ isNew }) => !isNew);
  const now = await listRoutes(
    database,
    rest.map(({ source }) => source.id),
  );
  return rest.flatMap(({ source: { id }, routes }) =>
    JSON.stringify(now.get(id) ?? noRoutes) === JSON.stringify(routes) ? [] : [id],
  );
}

/** What is on record and what should be, of what differs; no `before` when nothing does. */
function difference(row: MailboxRow, wanted: WantedMailbox): { before: object | null; after: object } {
  const now: Omit<WantedMailbox, 'accountId' | 'kind'> = {
    address: row.address,
    state: row.state,
    mailStatus: row.mail_status,
    retainedUntil: row.retained_until,
    quotaBytes: Number(row.quota_bytes),
    quotaClass: row.quota_class,
  };
  const names = (Object.keys(now) as (keyof typeof now)[]).filter((name) => now[name] !== wanted[name]);
  const only = (values: typeof now) => Object.fromEntries(names.map((name) => [name, values[name]]));
  return names.length === 0 ? { before: null, after: {} } : { before: only(now), after: only(wanted) };
}

/** As the database has it after the insert. */
const newRow = (wanted: WantedMailbox): MailboxRow => ({
  account_id: wanted.accountId,
  kind: wanted.kind,
  address: wanted.address,
  state: wanted.state,
  mail_status: wanted.mailStatus,
  suspended_mail: null,
  retained_until: wanted.retainedUntil,
  quota_bytes: String(wanted.quotaBytes),
  quota_class: wanted.quotaClass,
  quota_bytes_by_hand: null,
  quota_class_by_hand: null,
  display_name: null,
  agency_id: null,
  provisioned_at: null,
  credential_epoch: 1,
  version: 1,
});

const changedRow = (row: MailboxRow, wanted: WantedMailbox): MailboxRow => ({
  ...row,
  address: wanted.address,
  state: wanted.state,
  mail_status: wanted.mailStatus,
  retained_until: wanted.retainedUntil,
  quota_bytes: String(wanted.quotaBytes),
  quota_class: wanted.quotaClass,
  version: row.version + 1,
});

const eventOf = (
  source: MailboxSource,
  action: AuditEvent['action'],
  before: object | null,
  after: object,
): AuditEvent => ({
  actor: systemActor,
  action,
  subjectType: 'account',
  subjectId: source.id,
  agencyId: source.agencyId,
  requestId: source.requestId,
  before,
  after,
});

/** The errors by account. */
async function convergeMailAttributes(
  database: Database,
  ldap: Ldap,
  baseDn: string,
  pairs: readonly Pair[],
): Promise<Map<string, Error>> {
  const people = `ou=people,${baseDn}`;
  // What is new need not be read: the directory service has just made its entry, where it says. Unless somebody moved it.
  const fresh = pairs.filter(({ isNew }) => isNew);
  const errors = await applyAll(
    ldap,
    fresh.map((pair) => ({ id: pair.source.id, operation: firstWrite(people, pair) })),
  );
  const isMoved = ({ source }: Pair): boolean => errors.get(source.id) instanceof NoSuchObjectError;
  const rest = pairs.filter((pair) => !pair.isNew || isMoved(pair));
  if (rest.length === 0) return errors;

  const ids = rest.map(({ source }) => source.id);
  const further = await listFurtherAttributes(database, ids);
  const found = await ldap.findBy(people, 'congvuAccountId', ids, ['congvuAccountId', ...mailAttributeNames]);
  const entries = new Map(found.map((entry) => [String(entry.attributes.congvuAccountId?.[0]), entry]));
  const changed: { id: string; operation: Operation }[] = [];
  for (const { source, mailbox, routes } of rest) {
    const entry = entries.get(source.id);
    if (!entry) {
      errors.set(source.id, entryMissing());
      continue;
    }
    errors.delete(source.id);
    const wanted = { ...basicAttributes(mailbox), ...further(source.id), ...routeAttributes(routes) };
    const changes = diffAttributes(entry.attributes, wanted);
    if (changes.length > 0) changed.push({ id: source.id, operation: { kind: 'modify', dn: entry.dn, changes } });
  }
  return new Map([...errors, ...(await applyAll(ldap, changed))]);
}

/** Right whatever stands there. */
const firstWrite = (people: string, { source, mailbox }: Pair): Operation => ({
  kind: 'modify',
  dn: distinguishedName({ uid: source.username }, people),
  changes: Object.entries(basicAttributes(mailbox)).map(([attribute, values]) => ({
    attribute,
    operation: 'replace',
    values,
  })),
});

async function applyAll(
  ldap: Ldap,
  writes: readonly { id: string; operation: Operation }[],
): Promise<Map<string, Error>> {
  if (writes.length === 0) return new Map();
  const outcomes = await ldap.applyAll(writes.map(({ operation }) => operation));
  return new Map(
    writes.flatMap(({ id }, index) => {
      const error = outcomes[index];
      return error ? [[id, error] as const] : [];
    }),
  );
}

const entryMissing = (): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'entry_missing',
    detail: 'The LDAP entry of the account, which was made before, is not there; reconcile the directory.',
  });

async function recordProvisioned(transaction: Transaction, active: readonly MailboxSource[]): Promise<void> {
  const first = await markProvisioned(
    transaction,
    active.map((source) => source.id),
  );
  if (first.size === 0) return;
  await transaction.raw('select directory.report_provisioned(?::uuid[])', [[...first]]);
  const welcomes = active.filter((source) => source.kind === 'person' && first.has(source.id));
  await addJobs(transaction, 'mailbox', welcomeJobs(welcomes));
}

const crowd = 20;

/**
 * The letters of a crowd begin a minute later, when it likely stands, and go one by one: eight at a time, each with its SMTP session
 * and delivery, would take what time the machine has from the mailboxes that are still to be made. Until then they are one job.
 */
function welcomeJobs(sources: readonly MailboxSource[]): JobSpec[] {
  if (sources.length <= crowd) return sources.map((source) => noticeJob({ kind: 'welcome', subjectId: source.id }));
  const accountIds = sources.map((source) => source.id);
  return [{ task: 'queue-letters', payload: { accountIds }, runAt: new Date(Date.now() + 60_000), priority: 10 }];
}

/** The letters of a crowd, each a job of its own, one after the other. */
export const queueLetters = (database: Database, accountIds: readonly string[]): Promise<void> =>
  addJobs(
    database,
    'mailbox',
    accountIds.map((id) => ({ ...noticeJob({ kind: 'welcome', subjectId: id }), queue: 'letters' })),
  );

/** After the mailboxes are committed: a notice put on record meanwhile either sees its mailbox or is seen here. */
async function releaseNotices(database: Database, active: readonly MailboxSource[]): Promise<void> {
  const waiting = await listWaitingFor(
    database,
    active.map((source) => source.address),
  );
  await addJobs(
    database,
    'mailbox',
    waiting.map((notice) => noticeJob(identityOf(notice))),
  );
}
