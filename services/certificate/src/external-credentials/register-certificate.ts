/**
 * The certificate of the Government's CA that came back: read, compared with the account, and put into the register. Sent again it changes
 * nothing. And its revocation, of which the Government's CA told.
 */
import type { X509Certificate } from 'node:crypto';
import { brokenConstraint } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { readForeignCertificate, textOfName } from '../authority/foreign-certificate.ts';
import { unwrapPrivateKey } from '../authority/key-wrap.ts';
import type { RevocationReason } from '../certificates/certificate-store.ts';
import { certificateFaults, type Expected } from './check-certificate.ts';
import {
  type ExternalActor,
  type ExternalDependencies,
  recordExternalEvent,
  requireState,
  sealedFor,
} from './external-request.ts';
import {
  type AccountFacts,
  type ExternalRow,
  findAccountWithin,
  isKeyOfAnother,
  lockExternal,
  updateExternal,
} from './external-store.ts';

export interface RegisterDependencies extends ExternalDependencies {
  /** Of the Government's CA; without them no chain is followed. */
  externalAuthorities: readonly X509Certificate[] | undefined;
}

export async function registerExternal(
  { database, wrappingKey, externalAuthorities }: RegisterDependencies,
  id: string,
  text: string,
  actor: ExternalActor,
  version: number | undefined,
): Promise<void> {
  const certificate = readForeignCertificate(text);
  await database
    .transaction(async (transaction) => {
      const row = await lockExternal(transaction, id, actor.agencyCode, version);
      if (row.state === 'issued' && row.fingerprint_sha256?.equals(certificate.fingerprint)) return;
      requireState(row, ['drafted', 'sent'], 'issued');
      const account = await findAccountWithin(transaction, row.account_id, actor.agencyCode);
      if (!account || account.state === 'retired')
        throw new ServiceError({ kind: 'conflict', code: 'account_state', detail: 'The account is no longer yours.' });

      const identity = row.identity_sealed && unwrapPrivateKey(row.identity_sealed, [wrappingKey], sealedFor(id));
      const expected: Expected = {
        kind: row.kind,
        names: namesOf(row, account),
        address: account.address,
        identityNumber: identity?.toString(),
      };
      const faults = certificateFaults(certificate, expected, externalAuthorities, new Date());
      if (await isKeyOfAnother(transaction, certificate.keyFingerprint, row.account_id)) {
        const detail = 'Another account has the key of this certificate.';
        faults.push({ pointer: '/certificate', code: 'certificate_key_of_another', detail });
      }
      if (faults.length > 0) throw invalid('certificate_refused', faults);

      await updateExternal(transaction, id, {
        state: 'issued',
        certificate: certificate.der,
        fingerprint_sha256: certificate.fingerprint,
        key_sha256: certificate.keyFingerprint,
        serial_number: certificate.serialNumber,
        issuer: textOfName(certificate.issuer),
        subject: textOfName(certificate.subject),
        key_kind: certificate.keyKind,
        not_before: certificate.notBefore,
        not_after: certificate.notAfter,
        chain_verified: externalAuthorities ? true : null,
        registered_at: transaction.fn.now() as never,
      });
      await recordExternalEvent(
        transaction,
        actor,
        'issued',
        row,
        { state: row.state },
        {
          id,
          serialNumber: certificate.serialNumber.toString('hex'),
          fingerprintSha256: certificate.fingerprint.toString('hex'),
          issuer: textOfName(certificate.issuer),
        },
      );
    })
    .catch((error: unknown) => {
      if (brokenConstraint(error) !== 'external_credentials_fingerprint_unique') throw error;
      const detail = 'This certificate is in the register already, under another request.';
      throw new ServiceError({ kind: 'conflict', code: 'certificate_registered', detail, cause: error });
    });
}

/** A position's certificate is its holder's, and may name the position. */
const namesOf = (
  row: ExternalRow,
  account: Pick<AccountFacts, 'displayName' | 'fullName' | 'agencyName'>,
): string[] => {
  if (row.kind === 'individual') return [account.fullName, account.displayName];
  if (row.kind === 'organisation') return [account.displayName, account.agencyName];
  const { name, dnsNames } = row.form as { name: string; dnsNames: string[] };
  return [name, ...dnsNames];
};

export const revokeExternal = (
  { database }: ExternalDependencies,
  id: string,
  input: { reason: Exclude<RevocationReason, 'certificateHold'>; revokedAt?: string | undefined },
  actor: ExternalActor,
  version: number | undefined,
): Promise<void> =>
  database.transaction(async (transaction) => {
    const row = await lockExternal(transaction, id, actor.agencyCode, version);
    requireState(row, ['issued'], 'revoked');
    const revokedAt = new Date(input.revokedAt ?? Date.now());
    if (revokedAt.getTime() > Date.now() + 60_000 || (row.not_before && revokedAt < row.not_before)) {
      const detail = 'A revocation lies between the beginning of the certificate and now.';
      throw invalid('revoked_at', [{ pointer: '/revokedAt', code: 'revoked_at', detail }]);
    }
    await updateExternal(transaction, id, {
      state: 'revoked',
      revoked_at: revokedAt,
      revocation_reason: input.reason,
    });
    const serialNumber = row.serial_number?.toString('hex');
    await recordExternalEvent(transaction, actor, 'revoked', row, { state: row.state }, { id, serialNumber, ...input });
  });
