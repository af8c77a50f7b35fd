/**
 * Tells holders and agencies of certificates that run out, at 60, 30 and 7 days, each once: the notice on record is what keeps it from
 * being told again. Asked each hour; done some at a time, each batch whole or not at all.
 */
import type { Database } from '@congvu/database';
import { certificateFacts, type DueCertificateEnd, listDueCertificateEnds } from './certificate-ends-store.ts';
import type { CertificateExpiryFacts } from './facts.ts';
import type { NewNotice } from './notice-store.ts';
import { queueNotices } from './queue-notices.ts';

const thresholds = [60, 30, 7] as const;
const batch = 500;

export async function queueCertificateEnds(database: Database, signal?: AbortSignal): Promise<void> {
  while (!signal?.aborted && (await queueBatch(database)) === batch);
}

const queueBatch = (database: Database): Promise<number> =>
  database.transaction(async (transaction) => {
    const due = await listDueCertificateEnds(transaction, thresholds, batch);
    await queueNotices(transaction, due.map(toNotice));
    return due.length;
  });

function toNotice(end: DueCertificateEnd): NewNotice {
  const facts: CertificateExpiryFacts = {
    displayName: end.displayName,
    address: end.address,
    agencyName: end.agencyName,
    toHolder: end.addressee === 'holder',
    ...certificateFacts(end.serialNumber, end.profile, end.endsAt),
  };
  return {
    kind: 'certificate_expiry',
    subjectId: end.accountId,
    occasion: `${end.serialNumber}:${end.days}`,
    addressee: end.addressee,
    recipient: end.recipient,
    agencyId: end.agencyId,
    facts,
  };
}
