/** Every query on what directory.accounts says of certificates. */
import type { Account, CertificatePath } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';

export interface CertificateOrder {
  id: string;
  state: Account['state'];
  agencyId: string;
  certificatePath: CertificatePath;
  certificateNumber: number;
  revocationReason: string | null;
}

/** Locks the account until the transaction ends. It must exist. */
export async function lockCertificateOrder(transaction: Transaction, accountId: string): Promise<CertificateOrder> {
  const row: CertificateOrder | undefined = await transaction('directory.accounts')
    .where({ id: accountId })
    .forUpdate()
    .first(
      'id',
      'state',
      'agency_id as agencyId',
      'certificate_path as certificatePath',
      'certificate_number as certificateNumber',
      'certificate_revocation_reason as revocationReason',
    );
  if (!row) throw new Error('an account that a line is about is not there');
  return row;
}

/** The account's part `certificate` waits until the certificate service says that it is so. */
export async function saveCertificateOrder(
  transaction: Transaction,
  accountId: string,
  order: { path: CertificatePath; number: number; reason: string | null },
): Promise<void> {
  await transaction('directory.accounts')
    .where({ id: accountId })
    .update({
      certificate_path: order.path,
      certificate_number: order.number,
      certificate_revocation_reason: order.reason,
      version: transaction.raw('version + 1'),
      updated_at: transaction.fn.now(),
    });
  await transaction.raw(
    `insert into directory.provisioning (account_id, part) values (?, 'certificate')
     on conflict (account_id, part) do update set state = 'waiting', updated_at = now()`,
    [accountId],
  );
}
