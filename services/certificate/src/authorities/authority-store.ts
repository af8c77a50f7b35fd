/** The authorities on record: what was issued belongs to one of them, found by its key. */
import type { Connection } from '@congvu/database';
import type { Certificate } from '../authority/certificate.ts';

/** The authority with this key, made on first sight. Its name stays what it was then: it stands in certificates. */
export async function saveAuthority(
  connection: Connection,
  authority: {
    name: string;
    kind: 'root' | 'issuing';
    certificate: Certificate;
    subjectKeyIdentifier: Buffer;
    purposes?: readonly string[];
    state?: 'active' | 'retired' | 'revoked';
    crlPartitions?: number;
  },
): Promise<{ id: string; name: string }> {
  const { rows } = await connection.raw<{ rows: { id: string; name: string }[] }>(
    `insert into certificate.authorities (name, kind, subject_key_identifier, certificate, purposes, state, crl_partitions)
     values (?, ?, ?, ?, ?, ?, ?)
     on conflict (subject_key_identifier) do update
       set purposes = excluded.purposes, state = excluded.state, crl_partitions = excluded.crl_partitions
     returning id, name`,
    [
      authority.name,
      authority.kind,
      authority.subjectKeyIdentifier,
      authority.certificate.der,
      authority.purposes ?? [],
      authority.state ?? 'active',
      authority.crlPartitions ?? 1,
    ] as never[],
  );
  return rows[0] as { id: string; name: string };
}

/** DER, also of one whose key is gone. */
export const findAuthorityCertificate = async (connection: Connection, id: string): Promise<Buffer | undefined> =>
  (await connection('certificate.authorities').where({ id }).first<{ certificate: Buffer }>('certificate'))
    ?.certificate;

export const hasLiveCertificatesOfOthers = async (connection: Connection, ids: readonly string[]): Promise<boolean> =>
  (await connection('certificate.intents').whereNotIn('authority_id', ids).first('id')) !== undefined ||
  (await connection('certificate.certificates')
    .whereNotIn('authority_id', ids)
    .where('not_after', '>', connection.fn.now())
    .where((where) => where.whereNot('state', 'revoked').orWhere('revocation_reason', 'certificateHold'))
    .first('id')) !== undefined;
