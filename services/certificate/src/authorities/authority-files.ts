/**
 * The issuing authorities as the ceremony leaves them in a directory: for each `<name>.crt.pem`, its key as `<name>.key.pem`
 * (encrypted PKCS#8, opened by `<name>.passphrase` or by the passphrase that all share), and what it is for in `<name>.json`.
 * The root's files may lie beside them and are not read here.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { invalid } from '@congvu/errors';
import { z } from 'zod';
import { fromPem, keyPurposesOf, readCertificate } from '../authority/certificate.ts';
import { type Issuer, loadIssuer } from '../authority/issuer.ts';
import { keyPurpose } from '../authority/oids.ts';
import { type Purpose, purposes } from '../authority/profile.ts';

/** `<name>.json`. Without that file: every purpose that the certificate allows, and one CRL for all. */
export const AuthoritySettings = z.strictObject({
  purposes: z.array(z.enum(purposes)).min(1),
  crlPartitions: z.int().min(1).max(1000).default(1),
});

export interface AuthorityFiles {
  /** As its files are named. */
  readonly name: string;
  readonly issuer: Issuer;
  readonly purposes: readonly Purpose[];
  readonly crlPartitions: number;
}

/** Letters, digits and hyphens, because it stands in URLs; not what the names of partitions and delta lists end in. */
export const isAuthorityName = (name: string): boolean =>
  /^[a-z][a-z0-9-]{0,29}$/.test(name) && !/-([0-9]{1,4}|delta)$/.test(name) && name !== 'root';

/** Those that are in date. Throws `invalid` with the name of the authority whose files are wrong. */
export async function readAuthorityFiles(
  directory: string,
  sharedPassphrase: string | undefined,
): Promise<AuthorityFiles[]> {
  const files = await readdir(directory);
  const names = files.flatMap((file) => /^(.+)\.crt\.pem$/.exec(file)?.[1] ?? []).filter((name) => name !== 'root');
  const found: AuthorityFiles[] = [];
  for (const name of names.sort()) {
    if (!isAuthorityName(name))
      throw wrong(name, 'its name must be of a-z 0-9 -, at most 30, and not end in -1 or -delta, as lists do');
    const optional = async (suffix: string) =>
      files.includes(`${name}${suffix}`) ? readFile(join(directory, `${name}${suffix}`), 'utf8') : undefined;
    const certificatePem = await readFile(join(directory, `${name}.crt.pem`), 'utf8');
    const certificate = readCertificate(fromPem('CERTIFICATE', certificatePem));
    const now = new Date();
    if (now < certificate.notBefore || now > certificate.notAfter) continue;
    const privateKeyPem = await optional('.key.pem');
    if (privateKeyPem === undefined) throw wrong(name, `${name}.key.pem is not there`);
    const passphrase = (await optional('.passphrase'))?.split(/\r?\n/, 1)[0] ?? sharedPassphrase;
    if (passphrase === undefined) throw wrong(name, `neither ${name}.passphrase nor AUTHORITIES_PASSPHRASE is there`);
    const allowed = allowedPurposes(keyPurposesOf(certificate));
    const settings = readSettings(name, await optional('.json')) ?? { purposes: allowed, crlPartitions: 1 };
    const beyond = settings.purposes.filter((purpose) => !allowed.includes(purpose));
    if (beyond.length > 0) throw wrong(name, `its certificate is not for ${beyond.join(', ')}`);
    found.push({ name, issuer: await loadIssuer({ certificatePem, privateKeyPem, passphrase }), ...settings });
  }
  return found;
}

function readSettings(name: string, text: string | undefined): z.infer<typeof AuthoritySettings> | undefined {
  if (text === undefined) return undefined;
  try {
    return AuthoritySettings.parse(JSON.parse(text));
  } catch {
    throw wrong(
      name,
      `${name}.json must name its purposes (${purposes.join(', ')}) and may name crlPartitions (1 to 1000)`,
    );
  }
}

/** By the key purposes to which the root confined it. */
function allowedPurposes(keyPurposes: readonly string[] | undefined): Purpose[] {
  const may = (...needed: (keyof typeof keyPurpose)[]) =>
    !keyPurposes || needed.every((purpose) => keyPurposes.includes(keyPurpose[purpose]));
  return purposes.filter((purpose) =>
    purpose === 'device' ? may('serverAuth', 'clientAuth') : may('emailProtection'),
  );
}

const wrong = (name: string, detail: string) =>
  invalid('authority_invalid', [
    { pointer: `/${name}`, code: 'authority_invalid', detail: `Authority ${name}: ${detail}.` },
  ]);
