/**
 * Who signs answers for each authority: a key of its own with a certificate of a week, made and renewed without anybody's doing, the
 * same for all processes. As with every certificate, its serial number and all that will be signed are committed first; a process
 * that dies in between leaves what the next one signs. The key lies on record wrapped, until its certificate has ended.
 */
import { createPrivateKey, randomUUID } from 'node:crypto';
import type { Database, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Authorities, Authority } from '../authorities/authorities.ts';
import { fingerprintOf, readCertificate } from '../authority/certificate.ts';
import { buildTbsCertificate, newSerialNumber, signTbs } from '../authority/issuer.ts';
import { generateKeyPair } from '../authority/key-pair.ts';
import { unwrapPrivateKey, type WrappingKey, wrapPrivateKey } from '../authority/key-wrap.ts';
import type { Responder } from '../authority/ocsp.ts';
import { keyIdentifierOf } from '../authority/public-key.ts';
import { signatureAlgorithmOf } from '../authority/signature.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import {
  findNewestResponder,
  forgetEndedKeys,
  insertResponder,
  lockResponders,
  type ResponderRow,
  requireResponder,
  setResponderCertificate,
} from './responder-store.ts';

export interface NumberedResponder extends Responder {
  /** Below 65,536; of this process alone. */
  readonly number: number;
}

export interface Responders {
  /** Throws `unavailable` (`responder_ended`) when the last one ended and there was no way to make another. */
  readonly of: (authorityId: string) => NumberedResponder;
  /** Undefined once it has ended. */
  readonly byNumber: (number: number) => NumberedResponder | undefined;
  /** Makes the next of each authority whose present one comes to its end; at other times it only looks. */
  readonly renew: () => Promise<void>;
}

export interface ResponderDependencies {
  database: Database;
  authorities: Authorities;
  wrappingKey: WrappingKey;
}

const profileId = 'ocsp-responder';
/** Small answers, and a signature that costs less than the rest of the request, whatever the authority's own key is. */
const keyKind = 'ec-p256';

export async function openResponders(dependencies: ResponderDependencies): Promise<Responders> {
  const { authorities, database } = dependencies;
  const newest = new Map<string, { id: string; responder: NumberedResponder }>();
  const numbered = new Map<number, NumberedResponder>();
  let last = 0;

  const renew = async (): Promise<void> => {
    for (const authority of authorities.all) {
      if (authority.issuer.certificate.notAfter.getTime() < Date.now()) continue;
      const row = await ensureResponder(dependencies, authority);
      if (newest.get(authority.id)?.id === row.id) continue;
      last = (last + 1) % 65_536;
      const responder = { ...loadResponder(row, dependencies.wrappingKey), number: last };
      numbered.set(last, responder);
      newest.set(authority.id, { id: row.id, responder });
    }
    for (const [number, one] of numbered) if (hasEnded(one)) numbered.delete(number);
    await forgetEndedKeys(database);
  };

  await renew();
  return {
    renew,
    of: (authorityId) => {
      const found = newest.get(authorityId)?.responder;
      if (found && !hasEnded(found)) return found;
      throw new ServiceError({
        kind: 'unavailable',
        code: 'responder_ended',
        detail: 'There is no responder for that authority at the moment.',
      });
    },
    byNumber: (number) => {
      const found = numbered.get(number);
      return found && !hasEnded(found) ? found : undefined;
    },
  };
}

const hasEnded = ({ certificate }: Responder): boolean => certificate.notAfter.getTime() < Date.now();

/** The newest one if it will do for a while, or another that takes its place; signed in any case. */
async function ensureResponder(dependencies: ResponderDependencies, authority: Authority): Promise<ResponderRow> {
  const { database } = dependencies;
  // 1. Intent.
  const intent = await database.transaction(async (transaction) => {
    await lockResponders(transaction, authority.id);
    const newest = await findNewestResponder(transaction, authority.id, new Date());
    return newest && isGoodEnough(newest, authority, dependencies)
      ? newest
      : commitIntent(transaction, dependencies, authority);
  });
  if (intent.certificate) return intent;
  // 2. Signature.
  const certificate = await signTbs(authority.issuer, intent.tbs);
  // 3. The register; if another process signed the same meanwhile, its certificate is the one.
  await database.transaction(async (transaction) => {
    if (!(await setResponderCertificate(transaction, intent.id, certificate))) return;
    await transaction.raw('select directory.record_event(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', [
      ...[certificateSystem.kind, certificateSystem.id, certificateSystem.ip],
      ...['authority.responder_certified', 'authority', authority.id, null, null, null],
      JSON.stringify({
        serialNumber: intent.serial_number.toString('hex'),
        profile: profileId,
        fingerprintSha256: fingerprintOf(certificate),
        notAfter: intent.not_after.toISOString(),
      }),
    ] as never[]);
  });
  return requireResponder(database, intent.id);
}

function isGoodEnough(row: ResponderRow, authority: Authority, dependencies: ResponderDependencies): boolean {
  const { renewal } = dependencies.authorities.profile(profileId);
  const renewFrom = row.not_after.getTime() - renewal.daysBefore * 86_400_000;
  // Nothing outlives its authority, so of one that ends there comes none that would last longer.
  const isLast = row.not_after >= authority.issuer.certificate.notAfter;
  if (row.not_after.getTime() < Date.now()) return false;
  return (Date.now() < renewFrom || isLast) && privateKeyOf(row, dependencies.wrappingKey) !== undefined;
}

/** Undefined where the wrapping key is another by now: then a new responder is made. */
function privateKeyOf(row: ResponderRow, wrappingKey: WrappingKey): Buffer | undefined {
  try {
    return row.wrapped_private_key
      ? unwrapPrivateKey(row.wrapped_private_key, [wrappingKey], associatedData(row.id))
      : undefined;
  } catch {
    return undefined;
  }
}

const associatedData = (id: string): string => `ocsp-responder:${id}`;

async function commitIntent(
  transaction: Transaction,
  { authorities, wrappingKey }: ResponderDependencies,
  authority: Authority,
): Promise<ResponderRow> {
  const profile = authorities.profile(profileId);
  const { issuer } = authority;
  const id = randomUUID();
  const { privateKey, subjectPublicKeyInfo } = await generateKeyPair(keyKind);
  const serialNumber = newSerialNumber();
  const { notBefore, notAfter } = periodOf(authority, profile.validityDays);
  const tbs = buildTbsCertificate(issuer, profile, authority.locations(0), {
    serialNumber,
    subject: { countryName: 'VN', commonName: `OCSP ${authority.name}` },
    subjectAltName: [],
    subjectPublicKeyInfo,
    notBefore,
    notAfter,
  });
  const responder = {
    id,
    authority_id: authority.id,
    serial_number: serialNumber,
    tbs,
    wrapped_private_key: wrapPrivateKey(privateKey, wrappingKey, associatedData(id)),
    not_before: notBefore,
    not_after: notAfter,
  };
  privateKey.fill(0);
  await insertResponder(transaction, responder);
  return { ...responder, certificate: null };
}

/** Valid from a little before now, as certificates are, and to the end of its authority at most. */
function periodOf({ issuer }: Authority, days: number): { notBefore: Date; notAfter: Date } {
  const { certificate } = issuer;
  const skewed = Math.floor(Date.now() / 1000) * 1000 - 5 * 60_000;
  const notBefore = Math.max(skewed, certificate.notBefore.getTime());
  const notAfter = Math.min(notBefore + days * 86_400_000 - 1000, certificate.notAfter.getTime());
  return { notBefore: new Date(notBefore), notAfter: new Date(notAfter) };
}

function loadResponder(row: ResponderRow, wrappingKey: WrappingKey): Responder {
  const key = privateKeyOf(row, wrappingKey);
  if (!key || !row.certificate) throw new Error('a responder without its key or certificate cannot sign');
  const certificate = readCertificate(row.certificate);
  const privateKey = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  key.fill(0);
  return {
    certificate,
    keyHash: keyIdentifierOf(certificate.subjectPublicKeyInfo),
    signatureAlgorithm: signatureAlgorithmOf(keyKind),
    privateKey,
  };
}
