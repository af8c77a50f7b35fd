/**
 * One step of the ceremony: what will be signed is on the disk as an intent before it is, then come the signatures, the new state and the
 * signed transcript, then the intent goes. A step that was killed is finished with the very same octets.
 */
import { type Certificate, fingerprintOf, readCertificate, toPem } from '../authority/certificate.ts';
import { buildTbsCrl, signCrl } from '../authority/crl.ts';
import * as der from '../authority/der.ts';
import { readName } from '../authority/distinguished-name.ts';
import { type Issuer, signTbs } from '../authority/issuer.ts';
import { keyKindOf } from '../authority/public-key.ts';
import {
  authorityFiles,
  type Intent,
  type Officers,
  type OpenRoot,
  openRoot,
  type RootState,
  removeIntent,
  replaceFile,
  writeIntent,
  writeTranscript,
} from './root-directory.ts';

/** Opens the root; a step that was killed is finished first. */
export async function openForStep(directory: string, officers: Officers, now: Date): Promise<OpenRoot> {
  const root = await openRoot(directory, officers, now);
  if (!root.unfinished) return root;
  await complete(root, root.unfinished);
  return openRoot(directory, officers, now);
}

/** Takes a step, and returns its transcript. */
export async function takeStep(
  root: OpenRoot,
  officers: Officers,
  now: Date,
  what: Omit<Intent, 'started' | 'officers'>,
): Promise<string> {
  const state = { ...what.state, step: root.state.step + 1 };
  const intent: Intent = { ...what, state, started: now.toISOString(), officers: namesOf(officers) };
  await writeIntent(root.directory, intent);
  return complete(root, intent);
}

/** Signs what an intent holds. Harmless to repeat, whatever of it was done before. */
export async function complete(
  { directory, issuer }: Pick<OpenRoot, 'directory' | 'issuer'>,
  intent: Intent,
): Promise<string> {
  const { certificate, crl, state, command } = intent;
  const lines = [
    `Congvu key ceremony, step ${state.step}: ${command}`,
    '',
    `Started   ${intent.started}`,
    `Finished  ${new Date().toISOString()}`,
    ...intent.officers.map((officer, index) => `Officer ${index + 1} ${officer}`),
    '',
    ...intent.remarks,
    ...describe('Root', issuer.certificate),
  ];
  const changed = ['root.json'];
  if (command === 'init') changed.push('root.crt.pem', 'root.key.pem');
  if (certificate) {
    const made = await signTbs(issuer, Buffer.from(certificate.tbs, 'base64'));
    await replaceFile(directory, `${certificate.name}.crt.pem`, toPem('CERTIFICATE', made));
    lines.push(...describe(`Issuing authority ${certificate.name}`, readCertificate(made)));
    const files = authorityFiles(certificate.name);
    changed.push(...files.filter((file) => certificate.keyIsHere || !file.endsWith('.key.pem')));
  }
  if (crl) {
    const made = await signCrl(issuer, Buffer.from(crl.tbs, 'base64'));
    await replaceFile(directory, 'root.crl.pem', toPem('X509 CRL', made));
    const listed = state.authorities.filter((one) => one.revoked);
    lines.push('', `Root CRL: number ${state.crlNumber}, for ${state.crlDays} days, lists ${listed.length}`);
    lines.push(...listed.map(({ name, revoked }) => `  ${name}  ${revoked?.at}  ${revoked?.reason}`));
    changed.push('root.crl.pem');
  }
  await replaceFile(directory, 'root.json', `${JSON.stringify(state, null, 2)}\n`);
  const transcript = await writeTranscript(directory, issuer, state.step, lines, changed);
  await removeIntent(directory);
  return transcript;
}

/** The root's CRL as the state has it. */
export function tbsCrl(issuer: Issuer, state: RootState, now: Date): Buffer {
  return buildTbsCrl(issuer, {
    crlNumber: BigInt(state.crlNumber),
    thisUpdate: now,
    nextUpdate: new Date(now.getTime() + state.crlDays * 86_400_000),
    entries: state.authorities.flatMap(({ serialNumber, revoked }) =>
      revoked
        ? [
            {
              serialNumber: Buffer.from(serialNumber, 'hex'),
              revocationDate: new Date(revoked.at),
              reason: revoked.reason,
            },
          ]
        : [],
    ),
  });
}

export const namesOf = (officers: Officers): string[] => officers.map(({ name }) => name);

function describe(title: string, certificate: Certificate): string[] {
  const colons = (hex: string) => hex.toUpperCase().match(/../g)!.join(':');
  const name = readName(der.decode(certificate.subject)).map(({ type, value }) => `${type}=${value}`);
  return [
    '',
    title,
    `  Subject              ${name.join(', ')}`,
    `  Key                  ${keyKindOf(certificate.subjectPublicKeyInfo)}`,
    `  Serial number        ${certificate.serialNumber.toString('hex')}`,
    `  notBefore            ${certificate.notBefore.toISOString()}`,
    `  notAfter             ${certificate.notAfter.toISOString()}`,
    `  SHA-256 fingerprint  ${colons(fingerprintOf(certificate.der))}`,
  ];
}
