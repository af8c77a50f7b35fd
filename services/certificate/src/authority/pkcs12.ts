/**
 * PKCS#12 files (RFC 7292): a private key, its certificate and the chain above it, under one passphrase, in two forms.
 *   modern  PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC, SHA-256 MAC: OpenSSL 1.1 and 3, NSS, Java, Windows from
 *           Server 2019, macOS 15.
 *   legacy  PBE with SHA-1 and three-key triple DES, SHA-1 MAC: Windows Server 2016 and gpgsm 2.2, which open no other.
 * Both are composed here: node-forge writes SHA-1 MACs, leaves certificates in the clear, knows RSA keys only, and
 * derives in JavaScript on the event loop. Before a file is handed out it is opened again twice, by the reader below,
 * which compares key and certificates with what went in, and by OpenSSL, which shares no code with it.
 *
 * Passphrases are printable ASCII. Other characters open with some programs and not with others: the MAC key is derived
 * from UTF-16 (RFC 7292 appendix B.1), PBES2 keys from UTF-8 in OpenSSL and from UTF-16 in NSS, and either from the
 * terminal's encoding in older tools.
 *
 * A passphrase that the holder chose may be weak, so the modern form makes each guess at it cost 50,000 iterations. One that was
 * generated here cannot be guessed and needs no more than the 2,048 that the legacy form always has, because the old programs
 * that it is for expect them.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hash,
  randomBytes,
  randomInt,
  timingSafeEqual,
} from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { invalid, ServiceError } from '@congvu/errors';
import * as der from './der.ts';
import { pkcs } from './oids.ts';
import { decryptPbes2, type Encrypted, encryptPbes2 } from './pbes2.ts';

export type Pkcs12Form = 'modern' | 'legacy';

/** A key and its certificate. */
export interface Pkcs12Entry {
  /** PKCS#8 PrivateKeyInfo, DER. */
  readonly privateKey: Buffer;
  /** DER. */
  readonly certificate: Buffer;
}

export interface Pkcs12Contents extends Pkcs12Entry {
  /** DER, from the issuer upwards; may be empty. */
  readonly chain: readonly Buffer[];
}

interface Protection {
  readonly passphrase: string;
  readonly form: Pkcs12Form;
  /** The passphrase is from `newPassphrase`, and nobody could guess it. */
  readonly isGenerated?: boolean;
}

const forms = {
  modern: { hash: 'sha256', oid: pkcs.sha256, hashLength: 32 },
  legacy: { hash: 'sha1', oid: pkcs.sha1, hashLength: 20 },
} as const;

const iterationsOf = ({ form, isGenerated }: Protection) => (form === 'modern' && !isGenerated ? 50_000 : 2_048);

/** 24 letters and digits, none of which looks like another on paper: 118 bits, in groups that can be typed. */
export function newPassphrase(): string {
  const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789';
  const group = () => Array.from({ length: 4 }, () => alphabet[randomInt(alphabet.length)]).join('');
  return Array.from({ length: 6 }, group).join('-');
}

/**
 * The PKCS#12 file. Throws `invalid` (`pkcs12_invalid`, faults at `/passphrase` or `/friendlyName`) for a passphrase that
 * is not 12 to 128 characters of printable ASCII or a name with characters outside the Basic Multilingual Plane, and
 * `unavailable` (`pkcs12_unreadable`) if what was made does not open again with the same contents.
 */
export const makePkcs12 = (options: Pkcs12Contents & { friendlyName: string } & Protection): Promise<Buffer> =>
  makePkcs12Bundle({ ...options, entries: [options] });

/**
 * The same with several keys that have been somebody's in turn, each with its certificate and a name of its own: Java keeps one key
 * of each name.
 */
export async function makePkcs12Bundle(
  options: { entries: readonly (Pkcs12Entry & { friendlyName: string })[]; chain: readonly Buffer[] } & Protection,
): Promise<Buffer> {
  const { entries, chain, passphrase, form } = options;
  requireTypable(
    passphrase,
    entries.map(({ friendlyName }) => friendlyName.normalize('NFC')),
  );

  // 1. The bags. localKeyId ties a key to its certificate; by custom it is the certificate's SHA-1.
  const keyBags: Buffer[] = [];
  const certificateBags: Buffer[] = [];
  for (const { privateKey, certificate, friendlyName } of entries) {
    const attributes = der.setOf(
      attribute(pkcs.friendlyName, der.bmpString(friendlyName.normalize('NFC'))),
      attribute(pkcs.localKeyId, der.octetString(hash('sha1', certificate, 'buffer'))),
    );
    const shrouded = await encrypt(privateKey, options);
    const contents = der.sequence(shrouded.algorithm, der.octetString(shrouded.ciphertext));
    keyBags.push(safeBag(pkcs.pkcs8ShroudedKeyBag, contents, attributes));
    certificateBags.push(certificateBag(certificate, attributes));
  }
  certificateBags.push(...chain.map((one) => certificateBag(one)));

  // 2. Certificates encrypted, then the keys: the order that every old reader has seen.
  const certificates = await encrypt(der.sequence(...certificateBags), options);
  const safe = der.sequence(encryptedData(certificates), plainData(der.sequence(...keyBags)));

  // 3. The MAC over both.
  const salt = randomBytes(16);
  const iterations = iterationsOf(options);
  const digest = await macOf(safe, passphrase, { salt, iterations, form });
  const digestInfo = der.sequence(
    der.sequence(der.objectIdentifier(forms[form].oid), der.nullValue),
    der.octetString(digest),
  );
  const macData = der.sequence(digestInfo, der.octetString(salt), der.integer(iterations));
  const file = der.sequence(der.integer(3), plainData(safe), macData);

  await requireSame(file, options);
  return file;
}

function requireTypable(passphrase: string, friendlyNames: readonly string[]): void {
  const faults = [];
  if (!/^[\x20-\x7e]{12,128}$/.test(passphrase))
    faults.push({
      pointer: '/passphrase',
      code: 'characters',
      detail: 'A passphrase has 12 to 128 printable ASCII characters; others do not open in every program.',
    });
  if (!friendlyNames.every((name) => /^[^\p{Cc}\p{Cs}\u{10000}-\u{10ffff}]{1,128}$/u.test(name)))
    faults.push({
      pointer: '/friendlyName',
      code: 'characters',
      detail: 'A friendly name has 1 to 128 characters of the Basic Multilingual Plane.',
    });
  if (faults.length > 0) throw invalid('pkcs12_invalid', faults);
}

const attribute = (type: string, value: Buffer) => der.sequence(der.objectIdentifier(type), der.setOf(value));
const safeBag = (type: string, value: Buffer, attributes?: Buffer) =>
  der.sequence(der.objectIdentifier(type), der.explicit(0, value), ...(attributes ? [attributes] : []));
const certificateBag = (certificate: Buffer, attributes?: Buffer) =>
  safeBag(
    pkcs.certBag,
    der.sequence(der.objectIdentifier(pkcs.x509Certificate), der.explicit(0, der.octetString(certificate))),
    attributes,
  );
const plainData = (content: Buffer) =>
  der.sequence(der.objectIdentifier(pkcs.data), der.explicit(0, der.octetString(content)));
const encryptedData = ({ algorithm, ciphertext }: Encrypted) =>
  der.sequence(
    der.objectIdentifier(pkcs.encryptedData),
    der.explicit(
      0,
      der.sequence(
        der.integer(0),
        der.sequence(der.objectIdentifier(pkcs.data), algorithm, der.implicit(0, ciphertext)),
      ),
    ),
  );

// ------------------------------------------------------------------------------------------------------ encryption

async function encrypt(plaintext: Buffer, protection: Protection): Promise<Encrypted> {
  const { passphrase, form } = protection;
  const iterations = iterationsOf(protection);
  if (form === 'modern') return encryptPbes2(plaintext, passphrase, iterations);
  const { salt, key, iv } = await newTripleDesKey(passphrase, iterations);
  const cipher = createCipheriv('des-ede3-cbc', key, iv);
  const parameters = der.sequence(der.octetString(salt), der.integer(iterations));
  return {
    algorithm: der.sequence(der.objectIdentifier(pkcs.pbeWithShaAnd3KeyTripleDesCbc), parameters),
    ciphertext: Buffer.concat([cipher.update(plaintext), cipher.final()]),
  };
}

async function decrypt(encrypted: Encrypted, passphrase: string): Promise<Buffer> {
  const [type, parameters] = der.readSequence(der.decode(encrypted.algorithm), 'The encryption algorithm');
  const oid = der.readObjectIdentifier(type, 'The encryption algorithm');
  if (oid === pkcs.pbes2) return decryptPbes2(encrypted, passphrase);
  if (oid !== pkcs.pbeWithShaAnd3KeyTripleDesCbc)
    throw der.malformed('An encryption algorithm that is not written here.');
  const [salt, count] = der.readSequence(parameters, 'The encryption parameters');
  const saltOctets = der.expect(salt, der.tag.octetString, 'The salt').content;
  const { key, iv } = await tripleDesKey(passphrase, saltOctets, der.readSmallInteger(count, 'The iteration count'));
  const cipher = createDecipheriv('des-ede3-cbc', key, iv);
  return Buffer.concat([cipher.update(encrypted.ciphertext), cipher.final()]);
}

/**
 * A salt, and what is derived from it. About one salt in sixty is passed over: gpgsm 2.2 writes the sums of RFC 7292 appendix B.2 step 6 C
 * without the zero octets that they begin with, and derives another key than everybody else. `draw` is for tests.
 */
export async function newTripleDesKey(
  passphrase: string,
  iterations: number,
  draw: () => Buffer = () => randomBytes(16),
) {
  for (;;) {
    const salt = draw();
    const derived = await tripleDesKey(passphrase, salt, iterations);
    if (!derived.zeroLed) return { salt, ...derived };
  }
}

interface Derivation {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly form: Pkcs12Form;
}

async function tripleDesKey(passphrase: string, salt: Buffer, iterations: number) {
  const derivation = { salt, iterations, form: 'legacy' } as const;
  const { octets: key, zeroLed } = await deriveKey(passphrase, 1, 24, derivation);
  return { key, iv: (await deriveKey(passphrase, 2, 8, derivation)).octets, zeroLed };
}

async function macOf(content: Buffer, passphrase: string, derivation: Derivation): Promise<Buffer> {
  const { hash: name, hashLength } = forms[derivation.form];
  const { octets } = await deriveKey(passphrase, 3, hashLength, derivation);
  return createHmac(name, octets).update(content).digest();
}

/** Block size in octets of both SHA-1 and SHA-256. */
const blockLength = 64;

/**
 * RFC 7292 appendix B.2, which OpenSSL does not offer on its own; `id` is 1 for a key, 2 for an IV, 3 for a MAC key.
 * Each hash is native; the event loop gets a turn every 256 of them. `zeroLed`: a sum of step 6 C that counts begins with a zero octet.
 */
async function deriveKey(passphrase: string, id: 1 | 2 | 3, length: number, { salt, iterations, form }: Derivation) {
  const password = Buffer.from(`${passphrase}\0`, 'utf16le').swap16();
  const diversifier = Buffer.alloc(blockLength, id);
  const input = Buffer.concat([fillBlocks(salt), fillBlocks(password)]);
  const derived: Buffer[] = [];
  let zeroLed = false;
  for (let have = 0; have < length; ) {
    if (have > 0)
      zeroLed = addToBlocks(input, fillBlocks(derived.at(-1) as Buffer).subarray(0, blockLength)) || zeroLed;
    let digest: Buffer = hash(forms[form].hash, Buffer.concat([diversifier, input]), 'buffer');
    for (let round = 1; round < iterations; round++) {
      digest = hash(forms[form].hash, digest, 'buffer');
      if (round % 256 === 0) await setImmediate();
    }
    derived.push(digest);
    have += digest.length;
  }
  return { octets: Buffer.concat(derived).subarray(0, length), zeroLed };
}

/** `octets` repeated to a whole number of blocks. */
const fillBlocks = (octets: Buffer) => Buffer.alloc(Math.ceil(octets.length / blockLength) * blockLength, octets);

/** Each block of `input` becomes (block + addend + 1) mod 2^512, in place (step 6 C). Whether one begins with a zero octet then. */
function addToBlocks(input: Buffer, addend: Buffer): boolean {
  let zeroLed = false;
  for (let start = 0; start < input.length; start += blockLength) {
    let carry = 1;
    for (let index = blockLength - 1; index >= 0; index--) {
      carry += input[start + index]! + addend[index]!;
      input[start + index] = carry & 0xff;
      carry >>>= 8;
    }
    zeroLed ||= input[start] === 0;
  }
  return zeroLed;
}

// --------------------------------------------------------------------------------------------------------- reading

/**
 * What a file made by `makePkcs12` holds. Throws `invalid` (`pkcs12_unreadable`) for a wrong passphrase, a MAC that does
 * not fit, or a file from elsewhere that is built otherwise.
 */
export async function openPkcs12(
  file: Buffer,
  passphrase: string,
): Promise<{ entries: Pkcs12Entry[]; chain: Buffer[] }> {
  try {
    const [, authenticated, macData] = der.readSequence(der.decode(file), 'PFX');
    const safe = octetsOf(authenticated, pkcs.data);
    await requireMac(safe, macData, passphrase);
    const [certificates, keys] = der.readSequence(der.decode(safe), 'AuthenticatedSafe');
    const bags = der.readSequence(der.decode(await decrypt(encryptedOf(certificates), passphrase)), 'SafeContents');
    const found = bags.map((bag) => {
      const [, value] = der.readSequence(bagValue(bag, pkcs.certBag), 'CertBag');
      return der.expect(inside(value), der.tag.octetString, 'A certificate').content;
    });
    const entries: Pkcs12Entry[] = [];
    for (const keyBag of der.readSequence(der.decode(octetsOf(keys, pkcs.data)), 'SafeContents')) {
      const [algorithm, ciphertext] = der.readSequence(bagValue(keyBag, pkcs.pkcs8ShroudedKeyBag), 'The key bag');
      const shrouded = der.expect(ciphertext, der.tag.octetString, 'The encrypted key').content;
      const certificate = found.shift();
      if (!certificate || !algorithm) throw der.malformed('A PKCS#12 with a key but no certificate of it.');
      entries.push({
        privateKey: await decrypt({ algorithm: algorithm.raw, ciphertext: shrouded }, passphrase),
        certificate,
      });
    }
    return { entries, chain: found };
  } catch (cause) {
    const detail = 'The PKCS#12 file cannot be opened with this passphrase.';
    throw new ServiceError({ kind: 'invalid', code: 'pkcs12_unreadable', detail, cause });
  }
}

const inside = (wrapper: der.DerElement | undefined) => der.children(der.expect(wrapper, 0xa0, 'A content'))[0];

function contentOf(info: der.DerElement | undefined, type: string, what: string): der.DerElement | undefined {
  const [oid, content] = der.readSequence(info, what);
  if (der.readObjectIdentifier(oid, what) !== type) throw der.malformed(`${what} is of another type.`);
  return inside(content);
}
const octetsOf = (info: der.DerElement | undefined, type: string) =>
  der.expect(contentOf(info, type, 'ContentInfo'), der.tag.octetString, 'A content').content;
const bagValue = (bag: der.DerElement | undefined, type: string) => contentOf(bag, type, 'SafeBag');

function encryptedOf(info: der.DerElement | undefined): Encrypted {
  const [, content] = der.readSequence(contentOf(info, pkcs.encryptedData, 'ContentInfo'), 'EncryptedData');
  const [, algorithm, ciphertext] = der.readSequence(content, 'EncryptedContentInfo');
  if (!algorithm) throw der.malformed('EncryptedContentInfo without an algorithm.');
  return { algorithm: algorithm.raw, ciphertext: der.expect(ciphertext, 0x80, 'The encrypted content').content };
}

async function requireMac(safe: Buffer, macData: der.DerElement | undefined, passphrase: string): Promise<void> {
  const [digestInfo, salt, count] = der.readSequence(macData, 'MacData');
  const [algorithm, digest] = der.readSequence(digestInfo, 'DigestInfo');
  const oid = der.readObjectIdentifier(der.readSequence(algorithm, 'The MAC algorithm')[0], 'The MAC algorithm');
  const form = oid === pkcs.sha256 ? 'modern' : 'legacy';
  const derivation = {
    salt: der.expect(salt, der.tag.octetString, 'The MAC salt').content,
    iterations: der.readSmallInteger(count, 'The MAC count'),
    form,
  } as const;
  const expected = await macOf(safe, passphrase, derivation);
  const found = der.expect(digest, der.tag.octetString, 'The MAC').content;
  if (found.length !== expected.length || !timingSafeEqual(found, expected))
    throw der.malformed('The MAC does not fit.');
}

async function requireSame(
  file: Buffer,
  wanted: { entries: readonly Pkcs12Entry[]; chain: readonly Buffer[]; passphrase: string },
): Promise<void> {
  const unreadable = (cause?: unknown) =>
    new ServiceError({
      kind: 'unavailable',
      code: 'pkcs12_unreadable',
      detail: 'The PKCS#12 file that was made does not open as it should, so it was not handed out.',
      cause,
    });
  let found: Awaited<ReturnType<typeof openPkcs12>>;
  try {
    found = await openPkcs12(file, wanted.passphrase);
    // OpenSSL's own reader; it also refuses a key that does not belong to the certificate.
    createSecureContext({ pfx: file, passphrase: wanted.passphrase });
  } catch (cause) {
    throw unreadable(cause);
  }
  const octetsOfAll = (contents: Pick<typeof wanted, 'entries' | 'chain'>) =>
    Buffer.concat([
      ...contents.entries.flatMap(({ privateKey, certificate }) => [privateKey, certificate]),
      ...contents.chain,
    ]);
  const same = octetsOfAll(found).equals(octetsOfAll(wanted));
  for (const { privateKey } of found.entries) privateKey.fill(0);
  if (!same) throw unreadable();
}
