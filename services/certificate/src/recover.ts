/**
 * The command of the recovery officers (escrow/recover-keys.ts): run it on machines that are offline. It reads what
 * `POST /v1/recoveries/{id}/shares` gave each of them and asks nothing of any service. Files that it writes are the owner's alone and
 * never written over.
 */
import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { RecoveryShares } from '@congvu/contracts';
import { combineShares, openShares } from './escrow/recover-keys.ts';

const help = `Recovers the encryption keys of an account from the shares of two officers.

Each officer, with the own private key:
  node services/certificate/src/recover.ts open --shares FILE --key FILE [--passphrase-file FILE] --out FILE

  --shares FILE            the answer of POST /v1/recoveries/{id}/shares
  --key FILE               the officer's private key, PEM
  --passphrase-file FILE   first line is the passphrase of that key, if it has one
  --out FILE               the opened shares; one officer's say nothing without the other's

Then, with both:
  node services/certificate/src/recover.ts combine --opened FILE --opened FILE --out FILE --passphrase-out FILE [--form legacy]

  --out FILE               PKCS#12 with every key; modern unless told
  --passphrase-out FILE    its passphrase; give it to the holder by another way than the file
`;

const firstLine = async (file: string): Promise<string> => (await readFile(file, 'utf8')).split(/\r?\n/, 1)[0]!;
const readShares = async (file: string): Promise<RecoveryShares> =>
  RecoveryShares.parse(JSON.parse(await readFile(file, 'utf8')));
const writeOwn = (file: string, content: string | Buffer): Promise<void> =>
  writeFile(file, content, { mode: 0o600, flag: 'wx' });

async function main(): Promise<void> {
  const string = { type: 'string' } as const;
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      shares: string,
      key: string,
      'passphrase-file': string,
      opened: { type: 'string', multiple: true },
      out: string,
      'passphrase-out': string,
      form: string,
    },
  });
  const { shares, key, opened, out, form = 'modern' } = values;
  const [command] = positionals;
  if (command === 'open' && shares && key && out) {
    const file = values['passphrase-file'];
    const passphrase = file === undefined ? undefined : await firstLine(file);
    const pem = await readFile(key, 'utf8');
    const privateKey = createPrivateKey(passphrase === undefined ? { key: pem } : { key: pem, passphrase });
    await writeOwn(out, JSON.stringify(openShares(await readShares(shares), privateKey)));
    return;
  }
  const passphraseOut = values['passphrase-out'];
  const [one, other, ...more] = opened ?? [];
  if (command === 'combine' && one && other && more.length === 0 && out && passphraseOut) {
    if (form !== 'modern' && form !== 'legacy') throw new Error('--form is modern or legacy');
    const found = await combineShares(await readShares(one), await readShares(other), form);
    await writeOwn(passphraseOut, `${found.passphrase}\n`);
    await writeOwn(out, found.file);
    for (const serialNumber of found.serialNumbers) process.stdout.write(`recovered  ${serialNumber}\n`);
    for (const { serialNumber, officers } of found.missing)
      process.stdout.write(`missing    ${serialNumber}  (it is for ${officers.join(' and ')})\n`);
    return;
  }
  process.stdout.write(help);
  if (!values.help) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
