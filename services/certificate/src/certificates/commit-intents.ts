/**
 * What will be signed, for many enrolments together: serial number and TBSCertificate of each, on record with who asked for it before
 * anything is signed. What must be refused is said of that one. One that somebody changes between the look and the record is to be
 * looked at again, which costs less than to keep all of them locked meanwhile.
 */
import { randomInt, randomUUIDv7 } from 'node:crypto';
import { invalid, ServiceError } from '@congvu/errors';
import { buildTbsCertificate, newSerialNumber, validityPeriod } from '../authority/issuer.ts';
import type { Profile, SubjectFact } from '../authority/profile.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { fingerprintOfKey } from '../compromised-keys/compromised-key-store.ts';
import { type AccountSource, enrolmentNotFound } from '../enrolments/enrolment-store.ts';
import {
  type EnrolmentToIssue,
  type FoundToIssue,
  type IssuedAccount,
  listMade,
  type Made,
  readToIssue,
  recordIntents,
} from '../enrolments/issuing-store.ts';
import { type Intent, isRevokedForGood, type Scope } from './certificate-store.ts';
import type { Outcome } from './gather.ts';
import type { IssueDependencies, IssueOrder } from './issue-certificate.ts';

interface About {
  id: string;
  authorityId: string;
  enrolmentId: string;
  accountId: string;
  /** As it was read for the certificate; null if that was before. */
  account: IssuedAccount | null;
  agencyId: string;
  requestId: string | null;
  path: EnrolmentToIssue['path'];
  profile: string;
  serialNumber: Buffer;
}

/** What is to be signed. */
export interface Unsigned extends About {
  tbs: Buffer;
  certificate: null;
}

/** Or what was made of it before. */
export type Intended = Unsigned | (About & { tbs: null; certificate: Buffer });

interface Plan {
  intended: Intended;
  /** What is to be written, unless it stands already; the key that is certified, and which version of the enrolment was read. */
  fresh?: Intent & { subjectPublicKeyInfo: Buffer; xmin: string };
}

/** No two orders are for the same enrolment. Undefined is said of one that was changed meanwhile, of which nothing was written. */
export async function commitIntents(
  dependencies: IssueDependencies,
  orders: readonly IssueOrder[],
): Promise<Outcome<Intended | undefined>[]> {
  const { database } = dependencies;
  // 1. What is there.
  const found = await readToIssue(
    database,
    orders.map(({ enrolmentId: id, csr }) => ({
      id,
      agencyCode: csr && 'agencyCode' in csr.scope ? csr.scope.agencyCode : null,
      fingerprint: csr ? Buffer.from(csr.fingerprint, 'hex') : null,
    })),
  );
  const made = await listMade(
    database,
    [...found.values()].flatMap(({ enrolment }) => (enrolment.subject_public_key_info ? enrolment.id : [])),
  );

  // 2. What is to be, of each.
  const broughtHere = new Set<string>();
  const plans = orders.map((order): Outcome<Plan> => {
    const { enrolmentId, csr } = order;
    try {
      const one = found.get(enrolmentId);
      if (!one?.source || (csr && !isInScope(one.source, csr.scope, one.isBelow))) throw enrolmentNotFound();
      const isKeyInUse = one.isKeyInUse || (csr !== undefined && broughtHere.has(csr.fingerprint));
      const plan = planOne(dependencies, order, {
        ...one,
        source: one.source,
        isKeyInUse,
        made: made.get(enrolmentId),
      });
      if (csr) broughtHere.add(csr.fingerprint);
      return { value: plan };
    } catch (error) {
      return { error };
    }
  });

  // 3. On record.
  const fresh = plans.flatMap((plan, index) => {
    const { fresh: one } = 'value' in plan ? plan.value : {};
    return one ? [{ ...one, actor: (orders[index] as IssueOrder).actor }] : [];
  });
  const recorded = fresh.length > 0 ? await recordIntents(database, fresh) : new Set();
  return plans.map((plan) => {
    if ('error' in plan) return plan;
    const { fresh: one, intended } = plan.value;
    return { value: !one || recorded.has(one.enrolmentId) ? intended : undefined };
  });
}

const isInScope = (source: AccountSource, scope: Scope, isBelow: boolean): boolean =>
  'accountId' in scope ? source.id === scope.accountId && source.credentialEpoch === scope.credentialEpoch : isBelow;

interface Found extends FoundToIssue {
  source: AccountSource;
  made: Made | undefined;
}

/** Throws what is wrong with this order alone. */
function planOne(dependencies: IssueDependencies, order: IssueOrder, found: Found): Plan {
  const { enrolment, source, made } = found;
  if (order.csr) requireTakes(dependencies, order.csr, found);
  const { path, profile } = enrolment;
  const { id: accountId, agencyId, requestId } = source;
  const about = {
    enrolmentId: enrolment.id,
    accountId,
    agencyId,
    requestId,
    path,
    profile,
  };
  if (made) {
    const { id, authority_id: authorityId, serial_number: serialNumber } = made;
    const known = { ...about, account: null, id, authorityId, serialNumber };
    return {
      intended:
        made.certificate === null
          ? { ...known, tbs: made.tbs, certificate: null }
          : { ...known, tbs: null, certificate: made.certificate },
    };
  }
  // Nothing new for one that was closed, that awaits its second person, or that was refused by that person.
  if (!isOpen(enrolment)) throw enrolmentState(enrolment);
  const subjectPublicKeyInfo = order.csr?.subjectPublicKeyInfo ?? enrolment.subject_public_key_info;
  if (!subjectPublicKeyInfo) throw new Error('an enrolment without a key cannot be issued');
  const { authority, profile: rules } = dependencies.authorities.issuing(profile);
  const { issuer, crlPartitions } = authority;
  const serialNumber = newSerialNumber();
  const period = validityPeriod(issuer, rules, new Date(), dependencies.spreadEnds(rules));
  const crlPartition = randomInt(crlPartitions);
  const tbs = buildTbsCertificate(issuer, rules, authority.locations(crlPartition), {
    serialNumber,
    subject: subjectOf(rules, factsOf(source, dependencies.organizationIdentifier, enrolment.dns_names)),
    subjectAltName: rules.subjectAltName.flatMap(({ kind }) =>
      (kind === 'rfc822Name' ? [source.address] : enrolment.dns_names).map((value) => ({ kind, value })),
    ),
    subjectPublicKeyInfo,
    ...period,
  });
  const key = order.csr?.fingerprint ?? fingerprintOfKey(subjectPublicKeyInfo).toString('hex');
  const account = { id: accountId, version: source.version, key };
  const intended: Unsigned = {
    ...about,
    account,
    id: randomUUIDv7(),
    authorityId: authority.id,
    serialNumber,
    tbs,
    certificate: null,
  };
  const keyKind = order.csr?.keyKind ?? keyKindOf(subjectPublicKeyInfo);
  const { xmin } = enrolment;
  const { address } = source;
  return { intended, fresh: { ...intended, crlPartition, address, keyKind, ...period, subjectPublicKeyInfo, xmin } };
}

/** Whether the enrolment takes this key: for the first time, or it is the one that it took before. */
function requireTakes(
  { authorities }: IssueDependencies,
  { subjectPublicKeyInfo, keyKind }: NonNullable<IssueOrder['csr']>,
  { enrolment, source, made, isKeyInUse, isKeyCompromised }: Found,
): void {
  if (source.state !== 'active') throw conflict('account_state', 'The account is not active.');
  const profile = authorities.profile(enrolment.profile);
  if (!profile.keyKinds.includes(keyKind))
    throw refuse('csr_key_kind', `The profile ${profile.id} takes keys of ${profile.keyKinds.join(', ')}.`);
  if (enrolment.path === 'csr' && enrolment.subject_public_key_info?.equals(subjectPublicKeyInfo)) {
    if (made?.certificate && isRevokedForGood(made))
      throw conflict('certificate_revoked', 'The certificate for this key was revoked; the key gets no other.');
    return; // the same CSR again gets the same certificate
  }
  if (enrolment.state !== 'awaiting_csr' || enrolment.subject_public_key_info) throw enrolmentState(enrolment);
  if (isKeyCompromised) throw refuse('csr_key_compromised', 'This key is known to others; make a new key pair.');
  if (isKeyInUse) throw keyReused();
}

const isOpen = ({ is_open, state }: EnrolmentToIssue): boolean => is_open && state !== 'awaiting_approval';

export const keyReused = (): ServiceError =>
  refuse('csr_key_reused', 'This key has or had a certificate, or is enrolled, already; make a new key pair.');

const enrolmentState = ({ state }: EnrolmentToIssue): ServiceError =>
  conflict('enrolment_state', `The enrolment is ${state} and takes no CSR.`);

const conflict = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });
const refuse = (code: string, detail: string): ServiceError => invalid(code, [{ pointer: '/csr', code, detail }]);

/** What is known of the subject, from the directory alone; what a CSR says of it is never used. */
function factsOf(
  source: AccountSource,
  organizationIdentifier: string,
  dnsNames: readonly string[],
): Partial<Record<SubjectFact, string>> {
  const { surname, givenName } = source;
  const dnsName = dnsNames.find((name) => name.length <= 64);
  return {
    country: 'VN',
    agencyName: fit(source.agencyName),
    organizationIdentifier,
    username: source.username.slice(0, 64),
    address: source.address,
    displayName: fit(source.displayName),
    // A person with a single name carries it as surname (CA/B S/MIME BR 7.1.4.2.2 e).
    surname: fit(surname || givenName),
    ...(surname && givenName ? { givenName: fit(givenName) } : {}),
    fullName: fit(source.fullName),
    ...(source.title ? { title: fit(source.title) } : {}),
    ...(dnsName ? { dnsName } : {}),
  };
}

/** The attributes that the profile lists, as far as they are known. */
const subjectOf = (profile: Profile, facts: Partial<Record<SubjectFact, string>>) =>
  Object.fromEntries(
    profile.subject.flatMap(({ attribute, from }) => {
      const value = facts[from];
      return value === undefined ? [] : [[attribute, value]];
    }),
  );

/** At most 64 characters (RFC 5280 appendix A, ub-organization-name and others), cut between words. */
function fit(text: string): string {
  if ([...text].length <= 64) return text;
  const words = [...text].slice(0, 65).join('');
  return words.includes(' ') ? words.slice(0, words.lastIndexOf(' ')).trim() : [...text].slice(0, 64).join('');
}
