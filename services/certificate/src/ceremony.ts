/**
 * The command of the key ceremony (authority/ceremony.ts). Run it on a machine that is offline, keep root.key.pem and its
 * passphrase away from the service, and give the service issuing.*, root.crt.pem and root.crl.pem. Passphrases come from
 * files, because arguments and the environment show in the process list.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type CeremonyOptions, runCeremony } from './authority/ceremony.ts';
import { keyKinds } from './authority/public-key.ts';

export { type CeremonyOptions, runCeremony };

const help = `Makes the root and the issuing authority of Congvu, once, and writes them to a new directory.

  node services/certificate/src/ceremony.ts --out DIR --organization NAME \\
    --root-passphrase-file FILE --issuing-passphrase-file FILE \\
    --root-crl-url URL --root-certificate-url URL [options]

  --out DIR                        directory to make; refused if it holds anything
  --organization NAME              legal name of who runs the authority
  --country CC                     two letters (VN)
  --root-name NAME                 common name ("Congvu Root CA")
  --issuing-name NAME              common name ("Congvu Issuing CA 1")
  --root-passphrase-file FILE      first line is the passphrase, 12 characters or more
  --issuing-passphrase-file FILE   another one: the service gets this and never the root's
  --root-crl-url URL               http: address where the root's CRL will be
  --root-certificate-url URL       http: address where the root's certificate (DER) will be
  --root-key KIND                  ${keyKinds.join(' | ')} (rsa-4096)
  --issuing-key KIND               the same choice (rsa-3072)
  --root-years N  --issuing-years N  --root-crl-days N   (20, 10, 365)

Example, offline, with two officers each writing one passphrase file on a RAM disk:

  node services/certificate/src/ceremony.ts --out /media/usb/authorities \\
    --organization "Sở Thông tin và Truyền thông tỉnh Nghệ An" \\
    --root-passphrase-file /run/officer-1/passphrase --issuing-passphrase-file /run/officer-2/passphrase \\
    --root-crl-url http://pki.nghean.gov.vn/root.crl --root-certificate-url http://pki.nghean.gov.vn/root.crt

The service needs issuing.*, root.crt.pem and root.crl.pem. root.key.pem goes into the safe.
`;

async function main(): Promise<number> {
  const string = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      out: string,
      organization: string,
      country: string,
      'root-name': string,
      'issuing-name': string,
      'root-passphrase-file': string,
      'issuing-passphrase-file': string,
      'root-crl-url': string,
      'root-certificate-url': string,
      'root-key': string,
      'issuing-key': string,
      'root-years': string,
      'issuing-years': string,
      'root-crl-days': string,
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const missing = (
    [
      'out',
      'organization',
      'root-passphrase-file',
      'issuing-passphrase-file',
      'root-crl-url',
      'root-certificate-url',
    ] as const
  ).filter((option) => !values[option]);
  if (missing.length > 0) throw new Error(`missing: ${missing.map((option) => `--${option}`).join(', ')} (see --help)`);
  const keyKind = (option: 'root-key' | 'issuing-key') => {
    const kind = keyKinds.find((known) => known === values[option]);
    if (values[option] !== undefined && !kind) throw new Error(`--${option} is one of ${keyKinds.join(', ')}`);
    return kind;
  };
  const count = (option: 'root-years' | 'issuing-years' | 'root-crl-days') =>
    values[option] === undefined ? undefined : Number(values[option]);
  const passphrase = async (file: string) => (await readFile(file, 'utf8')).split(/\r?\n/, 1)[0]!;
  const given = {
    rootKeyKind: keyKind('root-key'),
    rootYears: count('root-years'),
    rootCrlDays: count('root-crl-days'),
    country: values.country,
  };
  const transcript = await runCeremony({
    out: values.out!,
    organization: values.organization!,
    rootName: values['root-name'] ?? 'Congvu Root CA',
    rootPassphrase: await passphrase(values['root-passphrase-file']!),
    issuing: [
      {
        name: 'issuing',
        commonName: values['issuing-name'] ?? 'Congvu Issuing CA 1',
        purposes: ['signature', 'encryption'],
        passphrase: await passphrase(values['issuing-passphrase-file']!),
        keyKind: keyKind('issuing-key') ?? 'rsa-3072',
        years: count('issuing-years') ?? 10,
      },
    ],
    rootCrlUrl: values['root-crl-url']!,
    rootCertificateUrl: values['root-certificate-url']!,
    ...(Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    ) as Partial<CeremonyOptions>),
  });
  process.stdout.write(transcript);
  return 0;
}

if (import.meta.main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
