/**
 * The command of the key ceremony (ceremony/acts.ts). Run it on a machine that is offline; its directory, the passphrases and the
 * officers meet nowhere else. Passphrases come from files, because arguments and the environment show in the process list.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type Purpose, purposes } from './authority/profile.ts';
import { type KeyKind, keyKinds } from './authority/public-key.ts';
import { initRoot, issueAuthority, renewRootCrl, revokeAuthority } from './ceremony/acts.ts';
import { type Officers, revocationReasons, verifyRecord } from './ceremony/root-directory.ts';

export { initRoot, issueAuthority, type KeyKind };

const help = `The key ceremony of Congvu: two officers, a machine that is offline, a signed transcript of every step.

  ceremony init               makes the root and its first CRL in a new directory
  ceremony issue-authority    certifies an issuing authority, with a key made here or in a token
  ceremony renew-crl          makes the root's next CRL; before the last one runs out
  ceremony revoke-authority   takes an issuing authority back
  ceremony verify             checks the whole record; needs no passphrase

Every step but verify:
  --directory DIR                    what lies in the safe
  --officer-1 NAME --officer-1-passphrase-file FILE
  --officer-2 NAME --officer-2-passphrase-file FILE
                                     first line of the file, 12 characters or more; always in this order
init:
  --organization NAME                legal name of who runs the authorities
  --root-crl-url URL                 http: address where the root's CRL will be (PUBLIC_URL/crl/root.crl)
  --root-certificate-url URL         http: address where its certificate will be (PUBLIC_URL/ca/root.crt)
  --country CC (VN)  --root-name NAME ("Congvu Root CA")  --key KIND (rsa-4096)  --years N (20)  --crl-days N (365)
issue-authority:
  --name NAME                        a-z 0-9 -; of its files, in URLs and LDAP
  --common-name NAME                 in its certificate
  --purposes LIST                    ${purposes.join(',')}; device stands alone
  --passphrase-file FILE             a key is made here, for the service, under this passphrase; or
  --csr FILE                         the key is in a token (PKCS#11), and this CSR was made with it
  --key KIND (rsa-3072)  --years N (10)  --crl-partitions N (1)
revoke-authority:
  --name NAME  --reason ${revocationReasons.join(' | ')}

Kinds of key: ${keyKinds.join(', ')}.

Example, each officer with a passphrase file on a RAM disk:

  node services/certificate/src/ceremony.ts init --directory /media/safe/root \\
    --officer-1 "Nguyễn Văn An" --officer-1-passphrase-file /run/officer-1/passphrase \\
    --officer-2 "Trần Thị Bình" --officer-2-passphrase-file /run/officer-2/passphrase \\
    --organization "Sở Thông tin và Truyền thông tỉnh Nghệ An" \\
    --root-crl-url http://pki.nghean.gov.vn/crl/root.crl --root-certificate-url http://pki.nghean.gov.vn/ca/root.crt

The service gets root.crt.pem, root.crl.pem and of each authority NAME.crt.pem, NAME.json and NAME.key.pem; the rest stays in
the safe. A new authority of a purpose takes over the issuing; leave the old one's files with the service until the last
certificate that it issued has ended, so that its CRLs go on.
`;

const string = { type: 'string' } as const;
const options = {
  help: { type: 'boolean', short: 'h' },
  directory: string,
  'officer-1': string,
  'officer-1-passphrase-file': string,
  'officer-2': string,
  'officer-2-passphrase-file': string,
  organization: string,
  country: string,
  'root-name': string,
  'root-crl-url': string,
  'root-certificate-url': string,
  key: string,
  years: string,
  'crl-days': string,
  name: string,
  'common-name': string,
  purposes: string,
  'passphrase-file': string,
  csr: string,
  'crl-partitions': string,
  reason: string,
} as const;

async function main(): Promise<string> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [command] = positionals;
  if (values.help || command === undefined) return help;
  type Option = Exclude<keyof typeof options, 'help'>;
  const needed = <const T extends Option>(...wanted: readonly T[]): Record<T, string> => {
    const missing = wanted.filter((option) => !values[option]);
    if (missing.length > 0) throw new Error(`missing: ${missing.map((one) => `--${one}`).join(', ')} (see --help)`);
    return values as Record<T, string>;
  };
  const given = <T extends object>(some: T): { [K in keyof T]?: NonNullable<T[K]> } =>
    Object.fromEntries(Object.entries(some).filter(([, value]) => value !== undefined)) as never;
  const oneOf = <T extends string>(option: Option, known: readonly T[]): T | undefined => {
    const found = known.find((one) => one === values[option]);
    if (values[option] !== undefined && !found) throw new Error(`--${option} is one of ${known.join(', ')}`);
    return found;
  };
  const count = (option: Option) => (values[option] === undefined ? undefined : Number(values[option]));
  const firstLine = async (file: string) => (await readFile(file, 'utf8')).split(/\r?\n/, 1)[0]!;
  const officers = async (): Promise<Officers> => {
    const of = needed('officer-1', 'officer-1-passphrase-file', 'officer-2', 'officer-2-passphrase-file');
    return [
      { name: of['officer-1'], passphrase: await firstLine(of['officer-1-passphrase-file']) },
      { name: of['officer-2'], passphrase: await firstLine(of['officer-2-passphrase-file']) },
    ];
  };
  const { directory } = needed('directory');
  const keyKind = oneOf('key', keyKinds);
  const years = count('years');

  switch (command) {
    case 'init': {
      const of = needed('organization', 'root-crl-url', 'root-certificate-url');
      return initRoot({
        directory,
        officers: await officers(),
        organization: of.organization,
        rootName: values['root-name'] ?? 'Congvu Root CA',
        rootCrlUrl: of['root-crl-url'],
        rootCertificateUrl: of['root-certificate-url'],
        ...given({ country: values.country, keyKind, years, crlDays: count('crl-days') }),
      });
    }
    case 'issue-authority': {
      const of = needed('name', 'common-name', 'purposes');
      const key = values.csr
        ? { csr: await readFile(values.csr, 'utf8') }
        : { passphrase: await firstLine(needed('passphrase-file')['passphrase-file']), ...given({ keyKind }) };
      return issueAuthority({
        directory,
        officers: await officers(),
        name: of.name,
        commonName: of['common-name'],
        purposes: of.purposes.split(',') as Purpose[],
        key,
        ...given({ years, crlPartitions: count('crl-partitions') }),
      });
    }
    case 'renew-crl':
      return renewRootCrl({ directory, officers: await officers() });
    case 'revoke-authority': {
      const { name } = needed('name', 'reason');
      return revokeAuthority({
        directory,
        officers: await officers(),
        name,
        reason: oneOf('reason', revocationReasons) ?? 'unspecified',
      });
    }
    case 'verify': {
      const { state, unfinished } = await verifyRecord(directory);
      const open = unfinished ? ` Step ${unfinished.state.step} (${unfinished.command}) was not finished.` : '';
      return `The record is whole: ${unfinished ? unfinished.state.step - 1 : state.step} steps, ${state.authorities.length} authorities.${open}\n`;
    }
    default:
      throw new Error(`there is no step "${command}" (see --help)`);
  }
}

if (import.meta.main) {
  try {
    process.stdout.write(await main());
  } catch (error) {
    const { message, faults } = error as Error & { faults?: readonly { detail: string }[] };
    process.stderr.write(`${faults?.map(({ detail }) => detail).join('\n') || message}\n`);
    process.exitCode = 1;
  }
}
