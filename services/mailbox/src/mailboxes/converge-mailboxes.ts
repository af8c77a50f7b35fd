/**
 * Makes the mailboxes of accounts what the accounts say, many at a time: the record, the mail attributes of the LDAP entries,
 * no session of one that is not active or of whoever held it before, and for a new one the welcome message, with which Dovecot makes its store. Harmless
 * to repeat. After writing to LDAP it looks whether an account changed meanwhile and if so begins again with it, so that of
 * two jobs that overlap the older never has the last word.
 */
import { addJobs, type Database, type JobSpec, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import {
  type Attributes,
  anyOf,
  diffAttributes,
  distinguishedName,
  type Ldap,
  NoSuchObjectError,
  type Operation,
} from '@congvu/ldap';
import { keepFormerAddresses, queueMailboxes } from '../aliases/alias-store.ts';
import { listForwardersTo, listRoutes, type MailRoutes } from '../aliases/forward-store.ts';
import { ensureDomains, queueDomains } from '../domains/converge-domains.ts';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { listWaitingFor, noticeJob } from '../notices/notice-store.ts';
import {
  findChanged,
  insertMailboxes,
  listSources,
  lockMailboxes,
  type MailboxRow,
  type MailboxSource,
  markProvisioned,
  markSessionsEnded,
  updateMailbox,
} from './mailbox-store.ts';

export interface MailboxDependencies {
  database: Database;
  ldap: Ldap;
  doveadm: Doveadm;
  baseDn: string;
  quotaBytes: number;
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

    // 3. LDAP, which Postfix and Dovecot read.
    const errors = await convergeMailAttributes(ldap, baseDn, pairs);

    // 4. Dovecot: no session of one that is not active, nor of whoever held it before.
    for (const pair of pairs) {
      await endSessions(database, doveadm, pair).catch((error: Error) => errors.set(pair.source.id, error));
    }
    for (const [id, error] of errors) failed.set(id, error);
    const converged = pairs.filter(({ source }) => !errors.has(source.id));

    // 5. Say so, and let the notices go that waited for these mailboxes.
    const active = converged.filter(({ mailbox }) => mailbox.state === 'active').map(({ source }) => source);
    await database.transaction((transaction) => recordProvisioned(transaction, active));
    await releaseNotices(database, active);

    // 6. What changed meanwhile is done again.
    const changed = await findChanged(
      database,
      converged.map(({ source }) => source),
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

const noRoutes: MailRoutes = { aliases: [], forwards: [] };

function wantedState(source: MailboxSource): MailboxRow['state'] {
  if (source.state === 'active') return 'active';
  return source.state === 'retired' ? 'retained' : 'suspended';
}

async function recordStates(
  transaction: Transaction,
  sources: readonly MailboxSource[],
  { quotaBytes, domain, aliasDays }: MailboxDependencies,
): Promise<Pair[]> {
  const made = await insertMailboxes(
    transaction,
    sources.map((source) => ({
      accountId: source.id,
      address: source.address,
      state: wantedState(source),
      quotaBytes,
    })),
  );
  const rows = await lockMailboxes(
    transaction,
    sources.map((source) => source.id),
  );
  const byId = new Map(rows.map((row) => [row.account_id, row]));
  const events: object[] = [];
  const pairs: Pair[] = [];
  const moved: { mailboxId: string; from: string; to: string }[] = [];
  for (const source of sources) {
    const row = byId.get(source.id) as MailboxRow;
    const { address } = source;
    const state = wantedState(source);
    if (made.has(source.id)) events.push(eventOf(source, 'mailbox.created', null, { address, state, quotaBytes }));
    else if (row.state !== state || row.address !== address) {
      await updateMailbox(transaction, source.id, { address, state });
      events.push(eventOf(source, 'mailbox.changed', { address: row.address, state: row.state }, { address, state }));
      if (row.address !== address) moved.push({ mailboxId: source.id, from: row.address, to: address });
    }
    pairs.push({ source, mailbox: { ...row, address, state }, routes: noRoutes, isNew: made.has(source.id) });
  }
  if (moved.length > 0) {
    await keepFormerAddresses(transaction, moved, aliasDays);
    const movedIds = moved.map(({ mailboxId }) => mailboxId);
    await queueMailboxes(transaction, await listForwardersTo(transaction, movedIds));
  }
  await ensureDomainsOf(transaction, domain, pairs, moved);
  const known = await listRoutes(
    transaction,
    pairs.flatMap(({ source, isNew }) => (isNew ? [] : [source.id])),
  );
  for (const pair of pairs) pair.routes = known.get(pair.source.id) ?? noRoutes;
  if (events.length > 0) await transaction.raw('select directory.record_events(?::jsonb)', [JSON.stringify(events)]);
  return pairs;
}

/** The first address in an agency's own domain brings that domain. */
async function ensureDomainsOf(
  transaction: Transaction,
  province: string,
  pairs: readonly Pair[],
  moved: readonly { to: string }[],
): Promise<void> {
  const addresses = [
    ...pairs.flatMap(({ isNew, source }) => (isNew ? [source.address] : [])),
    ...moved.map(({ to }) => to),
  ];
  const names = new Set(addresses.map((address) => address.slice(address.indexOf('@') + 1)));
  names.delete(province);
  if (names.size > 0 && (await ensureDomains(transaction, province, [...names]))) await queueDomains(transaction);
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

const eventOf = (source: MailboxSource, action: string, before: object | null, after: object): object => ({
  actor_kind: 'system',
  actor_id: 'mailbox',
  action,
  subject_type: 'account',
  subject_id: source.id,
  agency_id: source.agencyId,
  request_id: source.requestId,
  before,
  after,
});

/** The errors by account. */
async function convergeMailAttributes(ldap: Ldap, baseDn: string, pairs: readonly Pair[]): Promise<Map<string, Error>> {
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

  const found = await ldap.search(people, {
    scope: 'one',
    filter: anyOf(
      'congvuAccountId',
      rest.map(({ source }) => source.id),
    ),
    attributes: [
      'congvuAccountId',
      'mail',
      'congvuMailAlias',
      'congvuMailForward',
      'congvuMailStatus',
      'congvuMailQuotaBytes',
    ],
  });
  const entries = new Map(found.map((entry) => [String(entry.attributes.congvuAccountId?.[0]), entry]));
  const changed: { id: string; operation: Operation }[] = [];
  for (const { source, mailbox, routes } of rest) {
    const entry = entries.get(source.id);
    if (!entry) {
      errors.set(source.id, entryMissing());
      continue;
    }
    errors.delete(source.id);
    const { aliases: congvuMailAlias, forwards: congvuMailForward } = routes;
    const wanted = { ...wantedAttributes(mailbox), congvuMailAlias, congvuMailForward };
    const changes = diffAttributes(entry.attributes, wanted);
    if (changes.length > 0) changed.push({ id: source.id, operation: { kind: 'modify', dn: entry.dn, changes } });
  }
  return new Map([...errors, ...(await applyAll(ldap, changed))]);
}

const wantedAttributes = (mailbox: MailboxRow): Attributes => ({
  mail: [mailbox.address],
  congvuMailStatus: [mailbox.state],
  congvuMailQuotaBytes: [mailbox.quota_bytes],
});

/** Right whatever stands there. */
const firstWrite = (people: string, { source, mailbox }: Pair): Operation => ({
  kind: 'modify',
  dn: distinguishedName({ uid: source.username }, people),
  changes: Object.entries(wantedAttributes(mailbox)).map(([attribute, values]) => ({
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
  if (sources.length <= crowd) return sources.map((source) => noticeJob('welcome', source.id));
  const accountIds = sources.map((source) => source.id);
  return [{ task: 'queue-letters', payload: { accountIds }, runAt: new Date(Date.now() + 60_000), priority: 10 }];
}

/** The letters of a crowd, each a job of its own, one after the other. */
export const queueLetters = (database: Database, accountIds: readonly string[]): Promise<void> =>
  addJobs(
    database,
    'mailbox',
    accountIds.map((id) => ({ ...noticeJob('welcome', id), queue: 'letters' })),
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
    waiting.map((notice) => noticeJob(notice.kind, notice.subject_id)),
  );
}
