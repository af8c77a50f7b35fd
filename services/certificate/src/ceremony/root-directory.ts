/**
 * What the officers keep in the safe: the root's certificate, its encrypted key, its CRL, the certificates of the authorities that
 * it made, `root.json` (what was done so far) and one transcript per step, signed by the root and naming the one before, so that
 * nothing that was ever signed can be left out or changed without it being seen.
 *
 * The key opens with both officers' passphrases together, and with OpenSSL alone should this program be gone:
 * `openssl pkey -in root.key.pem -passin "pass:$(printf %s "$SECOND" | openssl dgst -sha256 -hmac "$FIRST" -r | cut -d' ' -f1)"`.
 */
import { createHash, createHmac, createPublicKey } from 'node:crypto';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { invalid, ServiceError } from '@congvu/errors';
import { z } from 'zod';
import { type Certificate, fromPem, readCertificate } from '../authority/certificate.ts';
import { type Issuer, loadIssuer } from '../authority/issuer.ts';
import { purposes } from '../authority/profile.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { signatureAlgorithmOf, verifyBytes } from '../authority/signature.ts';

export interface Officer {
  readonly name: string;
  readonly passphrase: string;
}
export type Officers = readonly [Officer, Officer];

export const revocationReasons = [
  'unspecified',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
] as const;

const hex = z.string().regex(/^([0-9a-f]{2})+$/);
/** `root.json`. */
export const RootState = z.strictObject({
  /** Steps that were taken; each has its transcript. */
  step: z.int().min(1),
  organization: z.string(),
  country: z.string(),
  rootCrlUrl: z.string(),
  rootCertificateUrl: z.string(),
  crlNumber: z.int().min(1),
  crlDays: z.int().min(1),
  authorities: z.array(
    z.strictObject({
      name: z.string(),
      commonName: z.string(),
      purposes: z.array(z.enum(purposes)).min(1),
      serialNumber: hex,
      notAfter: z.iso.datetime(),
      revoked: z.strictObject({ at: z.iso.datetime(), reason: z.enum(revocationReasons) }).optional(),
    }),
  ),
});
export type RootState = z.infer<typeof RootState>;

/** `intent.json`: what is about to be signed, on the disk before it is. It is gone when the step's transcript is there. */
export const Intent = z.strictObject({
  command: z.string(),
  started: z.iso.datetime(),
  officers: z.array(z.string()),
  remarks: z.array(z.string()),
  /** What is true when the step is done. */
  state: RootState,
  /** The certificate of an authority, by the name of its file. */
  certificate: z.strictObject({ name: z.string(), tbs: z.base64(), keyIsHere: z.boolean() }).optional(),
  crl: z.strictObject({ tbs: z.base64() }).optional(),
});
export type Intent = z.infer<typeof Intent>;

export interface OpenRoot {
  readonly directory: string;
  readonly issuer: Issuer;
  readonly state: RootState;
  /** Left by a step that was killed. */
  readonly unfinished: Intent | undefined;
}

export const passphraseOf = ([first, second]: Officers): string =>
  createHmac('sha256', first.passphrase).update(second.passphrase).digest('hex');

/** The root, its whole record verified. Throws `invalid`: `ceremony_record_invalid`, `issuer_key_unreadable` and others of `loadIssuer`. */
export async function openRoot(directory: string, officers: Officers, now: Date): Promise<OpenRoot> {
  const { state, unfinished } = await verifyRecord(directory);
  const [certificatePem, privateKeyPem] = await Promise.all([
    read(directory, 'root.crt.pem'),
    read(directory, 'root.key.pem'),
  ]);
  const issuer = await loadIssuer({ certificatePem, privateKeyPem, passphrase: passphraseOf(officers), now });
  return { directory, issuer, state, unfinished };
}

const transcriptName = (step: number): string => `transcript-${String(step).padStart(4, '0')}.txt`;
export const fileHash = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex');

/**
 * What an auditor checks, without any passphrase: every transcript is signed by the root and names the one before, and what lies
 * here is what the last of them names. Throws `invalid` (`ceremony_record_invalid`) with every fault.
 */
export async function verifyRecord(directory: string): Promise<{ state: RootState; unfinished: Intent | undefined }> {
  const problems: string[] = [];
  const files = await readdir(directory);
  const state = parse(RootState, await read(directory, 'root.json'), 'root.json');
  const unfinished = files.includes('intent.json')
    ? parse(Intent, await read(directory, 'intent.json'), 'intent.json')
    : undefined;
  const certificate = readCertificate(fromPem('CERTIFICATE', await read(directory, 'root.crt.pem')));
  let before = 'none';
  const named = new Map<string, string>();
  // The transcript of a step that was killed may be there or not.
  const steps = unfinished ? unfinished.state.step - 1 : state.step;
  for (let step = 1; step <= steps; step++) {
    const name = transcriptName(step);
    if (!files.includes(name) || !files.includes(`${name}.sig`)) {
      problems.push(`${name} or its signature is not there.`);
      continue;
    }
    const text = await read(directory, name);
    if (!(await isSigned(certificate, text, await readFile(join(directory, `${name}.sig`)))))
      problems.push(`${name} is not what the root signed.`);
    if (!text.includes(`Previous transcript (SHA-256)  ${before}\n`))
      problems.push(`${name} does not follow the one before it.`);
    before = fileHash(text);
    for (const [, hash, file] of text.matchAll(/^ {2}([0-9a-f]{64}) {2}(\S+)$/gm)) named.set(file!, hash!);
  }
  // Of a step that was killed, what it was about to change may be old or new; the step is taken again.
  const moving = unfinished
    ? ['root.json', 'root.crl.pem', ...(unfinished.certificate ? authorityFiles(unfinished.certificate.name) : [])]
    : [];
  for (const [file, hash] of named) {
    if (moving.includes(file)) continue;
    // A key that went to the service, and out of here, is no fault; one that was changed is.
    if (!files.includes(file) && file.endsWith('.key.pem') && file !== 'root.key.pem') continue;
    if (!files.includes(file) || fileHash(await readFile(join(directory, file))) !== hash)
      problems.push(`${file} is not what the transcripts say.`);
  }
  for (const file of files.filter((one) => one.endsWith('.crt.pem') && !named.has(one) && !moving.includes(one)))
    problems.push(`${file} is in no transcript.`);
  if (problems.length > 0)
    throw invalid(
      'ceremony_record_invalid',
      problems.map((detail) => ({ pointer: '', code: 'ceremony_record_invalid', detail })),
    );
  return { state, unfinished };
}

export const authorityFiles = (name: string): string[] => [`${name}.crt.pem`, `${name}.json`, `${name}.key.pem`];

async function isSigned(certificate: Certificate, text: string, signature: Buffer): Promise<boolean> {
  const { subjectPublicKeyInfo: key } = certificate;
  const publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
  return verifyBytes(publicKey, signatureAlgorithmOf(keyKindOf(key)), Buffer.from(text), signature);
}

/**
 * Writes and signs the transcript of a step. The signature first: a transcript without one would be a fault for ever.
 * `openssl dgst -sha256 -verify root.pub -signature transcript-0001.txt.sig transcript-0001.txt` says "Verified OK" (-sha384 with P-384).
 */
export async function writeTranscript(
  directory: string,
  issuer: Issuer,
  step: number,
  lines: readonly string[],
  files: readonly string[],
): Promise<string> {
  const before = step === 1 ? 'none' : fileHash(await read(directory, transcriptName(step - 1)));
  const hashes = await Promise.all(
    files.map(async (file) => `  ${fileHash(await readFile(join(directory, file)))}  ${file}`),
  );
  const text = [...lines, '', 'Files (SHA-256)', ...hashes, '', `Previous transcript (SHA-256)  ${before}`, ''].join(
    '\n',
  );
  await replaceFile(directory, `${transcriptName(step)}.sig`, await issuer.sign(Buffer.from(text)));
  await replaceFile(directory, transcriptName(step), text);
  return text;
}

export const writeIntent = async (directory: string, intent: Intent): Promise<void> => {
  await replaceFile(directory, 'intent.json', `${JSON.stringify(intent, null, 2)}\n`);
};

export const removeIntent = async (directory: string): Promise<void> => {
  await rm(join(directory, 'intent.json'), { force: true });
  await syncDirectory(directory);
};

/** Whole and on the disk, or as it was. */
export async function replaceFile(
  directory: string,
  name: string,
  content: string | Buffer,
  mode = 0o644,
): Promise<void> {
  const draft = join(directory, `.${basename(name)}.new`);
  await rm(draft, { force: true });
  const file = await open(draft, 'wx', mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, join(directory, name));
  await syncDirectory(directory);
}

export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  await handle.sync();
  await handle.close();
}

/** rename(2) puts a directory in the place of an empty one or of none, atomically, and of no other. */
export async function replaceVacant(work: string, out: string): Promise<void> {
  try {
    await rename(work, out);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR' ? alreadyDone(out) : error;
  }
  await syncDirectory(dirname(out));
}

export async function requireVacant(out: string): Promise<void> {
  try {
    if ((await readdir(out)).length > 0) throw alreadyDone(out);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') throw alreadyDone(out);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

const alreadyDone = (out: string) =>
  new ServiceError({
    kind: 'conflict',
    code: 'ceremony_done',
    detail: `${out} already holds something; a root is made once and never written over.`,
  });

const read = (directory: string, name: string): Promise<string> => readFile(join(directory, name), 'utf8');

function parse<T>(schema: z.ZodType<T>, text: string, name: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new ServiceError({
      kind: 'invalid',
      code: 'ceremony_record_invalid',
      detail: `${name} is not as the ceremony writes it.`,
      cause,
    });
  }
}
