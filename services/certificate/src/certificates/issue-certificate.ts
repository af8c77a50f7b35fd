/**
 * Issues the certificate of one enrolment. The order is what counts: serial number and everything that will be signed
 * are committed first, then signed, then the certificate is stored. Killed at any line, a retry signs the very same
 * octets again, so no certificate can exist that the record does not know and none is made twice.
 *
 * Those that are asked for at the same time share the two commits, which would else be most of what each costs; the signatures
 * are made side by side. One that is refused costs no other.
 */
import { brokenConstraint, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Authorities } from '../authorities/authorities.ts';
import { signTbs } from '../authority/issuer.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import { recordSigned, type SignedIntent } from '../enrolments/issuing-store.ts';
import type { SpreadEnds } from '../expiry/spread-ends.ts';
import type { SystemOrActor } from './certificate-event.ts';
import { listOfEnrolments, type Scope } from './certificate-store.ts';
import { commitIntents, type Intended, keyReused, type Unsigned } from './commit-intents.ts';
import { gather, type Outcome, toOutcome } from './gather.ts';

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
const mostInCommit = 250;
/** Each time somebody else was faster, and so came further. */
const mostLooks = 5;

interface Signed {
  intent: Unsigned;
  certificate: Buffer;
}

export function openIssuing(dependencies: IssueDependencies): Issue {
  const { database, authorities } = dependencies;
  const commitIntent = gather<IssueOrder, Intended | undefined>(
    { most: mostInCommit, keyOf: (order) => order.enrolmentId },
    (orders) => together(orders, (some) => commitIntents(dependencies, some)),
  );
  // Together, though each by itself: so those that were committed together are stored together. By authority, for one whose key is in
  // a slow token holds up no other.
  const signers = new Map<string, (intent: Unsigned) => Promise<Buffer>>();
  const signerOf = (authorityId: string): ((intent: Unsigned) => Promise<Buffer>) => {
    const { issuer } = authorities.byId(authorityId);
    const signer =
      signers.get(authorityId) ??
      gather<Unsigned, Buffer>({ most: mostInCommit, keyOf: ({ id }) => id }, (intents) =>
        Promise.all(intents.map(({ tbs }) => toOutcome(() => signTbs(issuer, tbs)))),
      );
    signers.set(authorityId, signer);
    return signer;
  };
  const store = gather<Signed, Buffer>({ most: mostInCommit, keyOf: ({ intent }) => intent.id }, (signed) =>
    together(signed, (some) => storeSigned(database, some)),
  );
  const intend = async (order: IssueOrder): Promise<Intended> => {
    for (let looks = 0; looks < mostLooks; looks += 1) {
      const intent = await commitIntent(order).catch(refuseReusedKey);
      if (intent) return intent;
    }
    throw unavailable('enrolment_changing', 'Others change the enrolment at the same time; try again in a moment.');
  };
  let underWay = 0;

  return async (order) => {
    if (underWay >= mostUnderWay)
      throw unavailable(
        'issuing_busy',
        'More certificates are being issued than can be at a time; try again in a moment.',
      );
    underWay += 1;
    try {
      // 1. Intent.
      const intent = await intend(order);
      const { authorityId, serialNumber } = intent;
      if (intent.certificate !== null) return { authorityId, serialNumber, certificate: intent.certificate };

      // 2. Signature, off the event loop.
      const certificate = await signerOf(authorityId)(intent);

      // 3. The register.
      const stored = await store({ intent, certificate });
      return { authorityId, serialNumber, certificate: stored };
    } finally {
      underWay -= 1;
    }
  };
}

/** Enrolled by another process in the same moment. */
function refuseReusedKey(error: unknown): never {
  throw brokenConstraint(error) === 'enrolled_keys_unique' ? keyReused() : error;
}

/** Written in one transaction; where the database refuses it, in halves, until those that it refuses stand alone. */
async function together<T, R>(
  items: readonly T[],
  work: (items: readonly T[]) => Promise<readonly Outcome<R>[]>,
): Promise<readonly Outcome<R>[]> {
  try {
    return await work(items);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (items.length === 1) return [{ error }];
    const middle = Math.ceil(items.length / 2);
    const first = await together(items.slice(0, middle), work);
    return [...first, ...(await together(items.slice(middle), work))];
  }
}

/** The database answered, and it is about what was asked: neither its stop (57P) nor its full disk (53). */
function isRefusal(error: unknown): boolean {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return severity !== undefined && typeof code === 'string' && !/^(57P|53)/.test(code);
}

/** The certificate that each has from now on: of two that signed the same intent, the first one's. */
async function storeSigned(database: Database, signed: readonly Signed[]): Promise<Outcome<Buffer>[]> {
  const stored = await recordSigned(database, signed.map(toRecord));
  const before = signed.flatMap(({ intent: { enrolmentId } }) => (stored.has(enrolmentId) ? [] : enrolmentId));
  const others = before.length > 0 ? await listOfEnrolments(database, before) : [];
  const earlier = new Map(others.map(({ enrolment_id, certificate }) => [enrolment_id, certificate]));
  return signed.map(({ intent: { enrolmentId }, certificate }) => {
    const value = stored.has(enrolmentId) ? certificate : earlier.get(enrolmentId);
    return value ? { value } : { error: new Error('an intent is gone, and no certificate was made of it') };
  });
}

function toRecord({ intent, certificate }: Signed): SignedIntent {
  const isIssued = intent.path === 'csr';
  return {
    enrolmentId: intent.enrolmentId,
    certificate,
    // Into LDAP; and whatever became of an account while we signed, the certificate follows it.
    account: isIssued && intent.account ? JSON.stringify(intent.account) : null,
    job: isIssued && !intent.account ? JSON.stringify(convergenceJob(intent.accountId)) : null,
  };
}

const unavailable = (code: string, detail: string): ServiceError =>
  new ServiceError({ kind: 'unavailable', code, detail, retryAfterSeconds: 2 });
