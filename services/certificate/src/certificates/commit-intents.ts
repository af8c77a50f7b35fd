/**
 * What will be signed, for many enrolments in one transaction: serial number and TBSCertificate of each, on record with who asked
 * for it before anything is signed. The enrolments are locked from the first look to the commit; what must be refused is said of that one.
 */
import { randomInt, randomUUIDv7 } from 'node:crypto';
import type { Transaction } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { buildTbsCertificate, newSerialNumber, validityPeriod } from '../authority/issuer.ts';
import type { Profile, SubjectFact } from '../authority/profile.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { fingerprintOfKey } from '../compromised-keys/compromised-key-store.ts';
import { type AccountSource, enrolmentNotFound } from '../enrolments/enrolment-store.ts';
import {
  checkToIssue,
  type EnrolmentToIssue,
  type IssuedAccount,
  type IssuingChecks,
  listMade,
  lockToIssue,
  type Made,
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
  /** What is to be written, unless it stands already, and the key that is certified. */
  fresh?: { intent: Intent; subjectPublicKeyInfo: Buffer };
}

/** No two orders are for the same enrolment. */
export async function commitIntents(
  transaction: Transaction,
  dependencies: IssueDependencies,
  orders: readonly IssueOrder[],
): Promise<Outcome<Intended>[]> {
  // 1. What is there.
  const locked = await lockToIssue(
    transaction,
    orders.map(({ enrolmentId }) => enrolmentId),
  );
  const sources = [...locked.values()].flatMap(({ source }) => source ?? []);
  const checks = await checkToIssue(
    transaction,
    pairsOf(orders, sources),
    orders.flatMap(({ csr }) => csr?.fingerprint ?? []),
  );
  const made = await listMade(
    transaction,
    [...locked.values()].flatMap(({ enrolment }) => (enrolment.subject_public_key_info ? enrolment.id : [])),
  );

  // 2. What is to be, of each.
  const outcomes = orders.map((order): Outcome<Plan> => {
    const { enrolmentId, csr } = order;
    try {
      const { enrolment, source } = locked.get(enrolmentId) ?? {};
      if (!enrolment || !source || (csr && !isInScope(source, csr.scope, checks))) throw enrolmentNotFound();
      const plan = planOne(dependencies, order, { enrolment, source, made: made.get(enrolmentId), checks });
      if (csr) checks.inUse.add(csr.fingerprint);
      return { value: plan };
    } catch (error) {
      return { error };
    }
  });

  // 3. On record.
  const written = outcomes.flatMap((outcome, index) => {
    const order = orders[index] as IssueOrder;
    if (!('value' in outcome) || !outcome.value.fresh) return [];
    const { intended, fresh } = outcome.value;
    return [{ order, intended, ...fresh }];
  });
  if (written.length > 0)
    await recordIntents(
      transaction,
      written
        .filter(({ intended }) => intended.path === 'csr')
        .map(({ intended, subjectPublicKeyInfo }) => ({ id: intended.enrolmentId, subjectPublicKeyInfo })),
      written.map(({ intent, order: { actor } }) => ({ ...intent, actor })),
    );
  return outcomes.map((outcome) => ('value' in outcome ? { value: outcome.value.intended } : outcome));
}

/** Of agencies and scopes that have to be compared, each once. */
function pairsOf(
  orders: readonly IssueOrder[],
  sources: readonly AccountSource[],
): { agencyId: string; above: string }[] {
  const codes = new Set(orders.flatMap(({ csr }) => (csr && 'agencyCode' in csr.scope ? [csr.scope.agencyCode] : [])));
  const agencies = new Map(sources.map(({ agencyId, agencyCode }) => [agencyId, agencyCode]));
  return [...codes].flatMap((above) =>
    [...agencies].flatMap(([agencyId, code]) => (code === above ? [] : [{ agencyId, above }])),
  );
}

const isInScope = (source: AccountSource, scope: Scope, { within }: IssuingChecks): boolean =>
  'accountId' in scope
    ? source.id === scope.accountId && source.credentialEpoch === scope.credentialEpoch
    : source.agencyCode === scope.agencyCode || within.has(`${source.agencyId} ${scope.agencyCode}`);

interface Found {
  enrolment: EnrolmentToIssue;
  source: AccountSource;
  made: Made | undefined;
  checks: IssuingChecks;
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
  const intent = { ...intended, crlPartition, address: source.address, keyKind, ...period };
  return { intended, fresh: { intent, subjectPublicKeyInfo } };
}

/** Whether the enrolment takes this key: for the first time, or it is the one that it took before. */
function requireTakes(
  { authorities }: IssueDependencies,
  { subjectPublicKeyInfo, keyKind, fingerprint }: NonNullable<IssueOrder['csr']>,
  { enrolment, source, made, checks }: Found,
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
  if (checks.compromised.has(fingerprint))
    throw refuse('csr_key_compromised', 'This key is known to others; make a new key pair.');
  if (checks.inUse.has(fingerprint)) throw keyReused();
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
