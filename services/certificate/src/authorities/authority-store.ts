/** The authorities on record: what was issued belongs to one of them, found by its key. */
import type { Connection } from '@congvu/database';
import type { Certificate } from '../authority/certificate.ts';

/** The id of the authority with this key, made on first sight. */
export async function saveAuthority(
  connection: Connection,
  authority: { name: string; kind: 'root' | 'issuing'; certificate: Certificate; subjectKeyIdentifier: Buffer },
): Promise<string> {
  const { rows } = await connection.raw<{ rows: { id: string }[] }>(
    `insert into certificate.authorities (name, kind, subject_key_identifier, certificate) values (?, ?, ?, ?)
     on conflict (subject_key_identifier) do update set name = excluded.name returning id`,
    [authority.name, authority.kind, authority.subjectKeyIdentifier, authority.certificate.der],
  );
  return (rows[0] as { id: string }).id;
}

export const hasLiveCertificatesOfAnother = async (connection: Connection, authorityId: string): Promise<boolean> =>
  (await connection('certificate.certificates')
    .whereNot({ authority_id: authorityId })
    .where('not_after', '>', connection.fn.now())
    .where((where) => where.whereNot('state', 'revoked').orWhere('revocation_reason', 'certificateHold'))
    .first('id')) !== undefined;
