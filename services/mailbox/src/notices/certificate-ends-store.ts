/** Certificates that run out, read from the certificate service's view. */
import type { Connection } from '@congvu/database';
import type { CertificateExpiryFacts, CertificateUse } from './facts.ts';

/** A notice that is due: of one certificate, at one threshold, to one addressee. */
export interface DueCertificateEnd {
  accountId: string;
  agencyId: string;
  agencyName: string;
  displayName: string;
  address: string;
  serialNumber: string;
  profile: string;
  endsAt: Date;
  /** The threshold that it is told at. */
  days: number;
  addressee: 'holder' | 'agency';
  recipient: string;
}

/**
 * Some of those that no notice is on record of. Only the nearest threshold is told: whoever was down at 60 days tells of 30, not of both.
 * One that lives no longer than a threshold is not told at that one.
 */
export async function listDueCertificateEnds(
  connection: Connection,
  thresholds: readonly number[],
  limit: number,
): Promise<DueCertificateEnd[]> {
  const { rows } = await connection.raw<{ rows: DueCertificateEnd[] }>(
    `select e.account_id as "accountId", c.agency_id as "agencyId", c.agency_name as "agencyName", c.display_name as "displayName",
       c.address, e.serial_number as "serialNumber", e.profile, e.not_after as "endsAt", e.days, who.addressee, who.recipient
     from (select v.*, (select min(days) from unnest(:thresholds::int[]) days
         where v.not_after <= now() + make_interval(days => days)) as days
       from certificate.expiring_certificates_v v
       where v.not_after > now() and v.not_after <= now() + make_interval(days => :first)) e
     join directory.accounts_v c on c.id = e.account_id and c.state <> 'retired'
     cross join lateral (values ('holder', c.address), ('agency', nullif(c.agency_address, c.address))) who (addressee, recipient)
     where who.recipient is not null and e.issued_at < e.not_after - make_interval(days => e.days)
       and not exists (select from mailbox.notices n where n.kind = 'certificate_expiry' and n.subject_id = e.account_id
         and n.occasion = concat(e.serial_number, ':', e.days) and n.addressee = who.addressee)
     order by e.not_after, e.serial_number limit :limit`,
    { thresholds: [...thresholds], first: Math.max(...thresholds), limit } as never,
  );
  return rows;
}

/** What a notice of the account's next end says of the certificate. */
export async function findNextEnd(
  connection: Connection,
  accountId: string,
): Promise<Omit<CertificateExpiryFacts, 'displayName' | 'address' | 'agencyName'> | undefined> {
  const row = await connection('certificate.expiring_certificates_v')
    .where({ account_id: accountId })
    .where('not_after', '>', connection.fn.now())
    .orderBy('not_after')
    .first<{ serial_number: string; profile: string; not_after: Date } | undefined>();
  return row && { toHolder: true, ...certificateFacts(row.serial_number, row.profile, row.not_after) };
}

export const certificateFacts = (serialNumber: string, profile: string, endsAt: Date) => ({
  serialNumber,
  use: useOf(profile),
  issuedBy: profile.startsWith('external-') ? ('government' as const) : ('province' as const),
  endsAt: endsAt.toISOString(),
});

function useOf(profile: string): CertificateUse {
  if (profile.startsWith('tls-') || profile.endsWith('-device')) return 'device';
  if (profile.endsWith('-seal') || profile.endsWith('-organisation')) return 'seal';
  return profile.endsWith('-encryption') ? 'encryption' : 'signature';
}
