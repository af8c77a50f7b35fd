/**
 * The certificates of accounts in LDAP: exactly the valid ones, for many accounts at the price of few. Tells the directory of each
 * once the certificate is where it belongs, or is gone as was wanted. Harmless to repeat.
 */
import { addJobs, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { diffAttributes, type Ldap, type Operation } from '@congvu/ldap';
import { listValid } from '../certificates/certificate-store.ts';
import { listCompromised } from '../compromised-keys/compromised-key-store.ts';
import { convergenceJob, publishingJob } from './convergence-job.ts';
import { listPublished, type PublishedAccount } from './enrolment-store.ts';
import { deleteUnpublished, type IssuedAccount, listUnpublished } from './issuing-store.ts';
import { orderedProfile } from './ordered-profile.ts';

const atOnce = 250;

interface PublishDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
}

/** The accounts must have their entries. Answers with what failed, by account; throws when LDAP cannot be reached. */
export async function publishCertificates(
  dependencies: PublishDependencies,
  sources: readonly PublishedAccount[],
): Promise<Map<string, Error>> {
  const { database, ldap, baseDn } = dependencies;
  const failed = new Map<string, Error>();
  if (sources.length === 0) return failed;
  const ids = sources.map(({ id }) => id);
  const valid = await listValid(database, ids);
  const octetsOf = (all: typeof valid, id: string): Buffer[] =>
    (all.get(id) ?? []).map(({ certificate }) => certificate);
  const attributes = ['congvuAccountId', 'userCertificate;binary'];
  const entries = await ldap.findBy(`ou=people,${baseDn}`, 'congvuAccountId', ids, attributes);
  const entryOf = new Map(entries.map((entry) => [String(entry.attributes.congvuAccountId?.[0]), entry]));
  const changes: { id: string; operation: Operation }[] = [];
  for (const id of ids) {
    const entry = entryOf.get(id);
    if (!entry) {
      failed.set(id, entryMissing());
      continue;
    }
    const { congvuAccountId: _, ...present } = entry.attributes;
    const differing = diffAttributes(present, { 'userCertificate;binary': octetsOf(valid, id) });
    if (differing.length > 0) changes.push({ id, operation: { kind: 'modify', dn: entry.dn, changes: differing } });
  }
  const outcomes = await ldap.applyAll(changes.map(({ operation }) => operation));
  for (const [index, { id }] of changes.entries()) {
    const refusal = outcomes[index];
    if (refusal) failed.set(id, refusal);
  }

  // Revoked between reading and writing: their own job may have looked before we wrote.
  const now = await listValid(database, ids);
  const isSettled = ({ id }: PublishedAccount): boolean =>
    diffAttributes({ valid: octetsOf(valid, id) }, { valid: octetsOf(now, id) }).length === 0;
  const done = sources.filter((source) => !failed.has(source.id) && isSettled(source));
  // The one that the directory ordered; others were asked for here, and say nothing of what it waits for.
  const hasOrdered = ({ id, kind }: PublishedAccount): boolean =>
    valid.get(id)?.some(({ profile }) => profile === orderedProfile[kind]) ?? false;
  const reported = done.filter((source) => source.certificatePath === 'none' || hasOrdered(source));
  if (reported.length > 0)
    await database.raw('select directory.report_provisioned(?::uuid[])', [reported.map(({ id }) => id)]);
  const again = sources.filter((source) => !failed.has(source.id) && !isSettled(source));
  for (const [id, error] of await publishCertificates(dependencies, again)) failed.set(id, error);
  return failed;
}

/**
 * After certificates were issued: into LDAP with them. Whose account changed while they were signed, whose key became known meanwhile,
 * and whoever fails, is looked at alone, by a job of its own: what was to be taken from the account was not there yet when it was looked for.
 */
export async function publishIssued(
  dependencies: PublishDependencies,
  accounts: readonly IssuedAccount[],
): Promise<void> {
  const { database } = dependencies;
  const sources = await listPublished(database, [...new Set(accounts.map(({ id }) => id))]);
  const known = await listCompromised(
    database,
    accounts.map(({ key }) => Buffer.from(key, 'hex')),
  );
  const versions = new Map(sources.map(({ id, version }) => [id, version]));
  const changed = new Set(
    accounts.flatMap(({ id, version, key }) => (versions.get(id) !== version || known.has(key) ? [id] : [])),
  );
  const isAsBefore = ({ id }: PublishedAccount): boolean => !changed.has(id);
  const ready = sources.filter((source) => isAsBefore(source) && source.entryVersion > 0);
  const failed = await publishCertificates(dependencies, ready);
  const alone = [...sources.filter((source) => !isAsBefore(source)).map(({ id }) => id), ...failed.keys()];
  await addJobs(database, 'certificate', alone.map(convergenceJob));
}

/** Those of a crowd. A row is gone when what it stands for is done, so that whoever is killed loses none. */
export async function publishUnpublished(dependencies: PublishDependencies, signal: AbortSignal): Promise<void> {
  const { database } = dependencies;
  for (;;) {
    signal.throwIfAborted();
    const some = await listUnpublished(database, atOnce);
    if (some.length === 0) return;
    await publishIssued(
      dependencies,
      some.map(({ account }) => account),
    );
    await deleteUnpublished(
      database,
      some.map(({ id }) => id),
    );
    if (some.length < atOnce) return;
  }
}

/** Each minute, for what nobody else asked for. */
export async function askForUnpublished(database: Database): Promise<void> {
  if ((await listUnpublished(database, 1)).length > 0) await addJobs(database, 'certificate', [publishingJob]);
}

const entryMissing = (): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'entry_missing',
    detail: 'The LDAP entry of the account, which was made before, is not there; reconcile the directory.',
  });
