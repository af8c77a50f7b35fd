/**
 * Issues the certificate of one enrolment. The order is what counts: serial number and everything that will be signed
 * are committed first, then signed, then the certificate is stored. Killed at any line, a retry signs the very same
 * octets again, so no certificate can exist that the record does not know and none is made twice.
 *
 * Those that are asked for at the same time share the two commits, which would else be most of what each costs; the signatures
 * are made side by side. One that is refused costs no other.
 */
import { addJobs, brokenConstraint, type Database, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Authorities } from '../authorities/authorities.ts';
import { fingerprintOf } from '../authority/certificate.ts';
import { signTbs } from '../authority/issuer.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import { setIssued } from '../enrolments/issuing-store.ts';
import type { IssuedAccount } from '../enrolments/publish-certificates.ts';
import type { SpreadEnds } from '../expiry/spread-ends.ts';
import { recordCertificateEvents, type SystemOrActor } from './certificate-event.ts';
import { type Scope, setSigned } from './certificate-store.ts';
import { commitIntents, type Intended, keyReused } from './commit-intents.ts';
import { gather, type Outcome } from './gather.ts';

export interface IssueDependencies {
  database: Database;
  authorities: Authorities;
  organizationIdentifier: string;
  spreadEnds: SpreadEnds;
}

export interface IssueOrder {
  enrolmentId: string;
  actor: SystemOrActor;
  /** The key that the enrolment takes, and by whose right; without it the enrolment must have its key. */
  csr?: {
    subjectPublicKeyInfo: Buffer;
    keyKind: KeyKind;
    /** SHA-256 of the key, in hexadecimal. */
    fingerprint: string;
    scope: Scope;
  };
}

export interface Issued {
  authorityId: string;
  serialNumber: Buffer;
  certificate: Buffer;
}

/** Makes the certificate of the enrolment; if it was made before, that one is the answer. */
export type Issue = (order: IssueOrder) => Promise<Issued>;

/** More of them would only make each wait longer. */
const mostUnderWay = 1_000;
const mostInCommit = 100;

interface Signed {
  intent: Intended;
  certificate: Buffer;
  fingerprint: Buffer;
  actor: SystemOrActor;
}

export function openIssuing(dependencies: IssueDependencies): Issue {
  const { database, authorities } = dependencies;
  const commitIntent = gather<IssueOrder, Intended>(
    { most: mostInCommit, keyOf: (order) => order.enrolmentId },
    (orders) => together(database, orders, (transaction, some) => commitIntents(transaction, dependencies, some)),
  );
  const store = gather<Signed, Buffer>({ most: mostInCommit, keyOf: ({ intent }) => intent.id }, (signed) =>
    together(database, signed, storeSigned),
  );
  let underWay = 0;

  return async (order) => {
    if (underWay >= mostUnderWay) throw busy();
    underWay += 1;
    try {
      // 1. Intent.
      const intent = await commitIntent(order).catch(refuseReusedKey);
      const { authorityId, serialNumber } = intent;
      if (intent.certificate) return { authorityId, serialNumber, certificate: intent.certificate };

      // 2. Signature, off the event loop.
      const certificate = await signTbs(authorities.byId(authorityId).issuer, intent.tbs);

      // 3. The register.
      const fingerprint = Buffer.from(fingerprintOf(certificate), 'hex');
      const stored = await store({ intent, certificate, fingerprint, actor: order.actor });
      return { authorityId, serialNumber, certificate: stored };
    } finally {
      underWay -= 1;
    }
  };
}

/** Enrolled by another process in the same moment. */
function refuseReusedKey(error: unknown): never {
  throw brokenConstraint(error) === 'enrolments_key_unique' ? keyReused() : error;
}

/** In one transaction; where the database refuses it, in halves, until those that it refuses stand alone. */
async function together<T, R>(
  database: Database,
  items: readonly T[],
  work: (transaction: Transaction, items: readonly T[]) => Promise<readonly Outcome<R>[]>,
): Promise<readonly Outcome<R>[]> {
  try {
    return await database.transaction((transaction) => work(transaction, items));
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (items.length === 1) return [{ error }];
    const middle = Math.ceil(items.length / 2);
    const first = await together(database, items.slice(0, middle), work);
    return [...first, ...(await together(database, items.slice(middle), work))];
  }
}

/** The database answered, and it is about what was asked: neither its stop (57P) nor its full disk (53). */
function isRefusal(error: unknown): boolean {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return severity !== undefined && typeof code === 'string' && !/^(57P|53)/.test(code);
}

/** The certificate that each has from now on: of two that signed the same intent, the first one's. */
async function storeSigned(transaction: Transaction, signed: readonly Signed[]): Promise<Outcome<Buffer>[]> {
  const byCsr = signed.filter(({ intent }) => intent.path === 'csr');
  await setIssued(
    transaction,
    byCsr.map(({ intent }) => intent.enrolmentId),
  );
  const stored = await setSigned(
    transaction,
    signed.map(({ intent, certificate, fingerprint }) => ({ id: intent.id, certificate, fingerprint })),
  );
  const isNew = ({ intent }: Signed): boolean => stored.get(intent.id) === undefined;
  // Into LDAP; and whatever became of an account while we signed, the certificate follows it.
  const accounts: IssuedAccount[] = [];
  const alone: string[] = [];
  for (const { intent } of byCsr.filter(isNew)) {
    if (intent.account) accounts.push(intent.account);
    else alone.push(intent.accountId);
  }
  await addJobs(transaction, 'certificate', [
    ...(accounts.length > 0 ? [{ task: 'publish-certificates', payload: { accounts } }] : []),
    ...alone.map(convergenceJob),
  ]);
  await recordCertificateEvents(
    transaction,
    signed.filter(isNew).map(({ intent, fingerprint, actor }) => ({
      actor,
      action: 'certificate.issued',
      subject: intent,
      after: {
        serialNumber: intent.serialNumber.toString('hex'),
        profile: intent.profile,
        fingerprintSha256: fingerprint.toString('hex'),
      },
    })),
  );
  return signed.map(({ intent, certificate }) => ({ value: stored.get(intent.id) ?? certificate }));
}

const busy = (): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'issuing_busy',
    detail: 'More certificates are being issued than can be at a time; try again in a moment.',
    retryAfterSeconds: 2,
  });
