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
 * The passphrase is the holder's own and may be weak, so the modern form makes each guess at it cost 50,000 iterations. The
 * legacy form keeps the 2,048 that the old programs it is for expect.
 */
import { createCipheriv, createDecipheriv, createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { invalid, ServiceError } from '@congvu/errors';
import * as der from './der.ts';
import { pkcs } from './oids.ts';
import { decryptPbes2, type Encrypted, encryptPbes2 } from './pbes2.ts';

export type Pkcs12Form = 'modern' | 'legacy';

export interface Pkcs12Contents {
  /** PKCS#8 PrivateKeyInfo, DER. */
  readonly privateKey: Buffer;
  /** DER. */
  readonly certificate: Buffer;
  /** DER, from the issuer upwards; may be empty. */
  readonly chain: readonly Buffer[];
}

const forms = {
  modern: { hash: 'sha256', oid: pkcs.sha256, hashLength: 32, iterations: 50_000 },
  legacy: { hash: 'sha1', oid: pkcs.sha1, hashLength: 20, iterations: 2_048 },
} as const;

/**
 * The PKCS#12 file. Throws `invalid` (`pkcs12_invalid`, faults at `/passphrase` or `/friendlyName`) for a passphrase that
 * is not 12 to 128 characters of printable ASCII or a name with characters outside the Basic Multilingual Plane, and
 * `unavailable` (`pkcs12_unreadable`) if what was made does not open again with the same contents.
 */
export async function makePkcs12(
  options: Pkcs12Contents & { passphrase: string; friendlyName: string; form: Pkcs12Form },
): Promise<Buffer> {
  const { privateKey, certificate, chain, passphrase, form } = options;
  const friendlyName = options.friendlyName.normalize('NFC');
  requireTypable(passphrase, friendlyName);

  // 1. The bags. localKeyId ties the key to its certificate; by custom it is the certificate's SHA-1.
  const attributes = der.setOf(
    attribute(pkcs.friendlyName, der.bmpString(friendlyName)),
    attribute(pkcs.localKeyId, der.octetString(hash('sha1', certificate, 'buffer'))),
  );
  const shrouded = await encrypt(privateKey, passphrase, form);
  const keyBag = safeBag(
    pkcs.pkcs8ShroudedKeyBag,
    der.sequence(shrouded.algorithm, der.octetString(shrouded.ciphertext)),
    attributes,
  );
  const certificateBags = [certificateBag(certificate, attributes), ...chain.map((one) => certificateBag(one))];

  // 2. Certificates encrypted, then the key: the order that every old reader has seen.
  const certificates = await encrypt(der.sequence(...certificateBags), passphrase, form);
  const safe = der.sequence(encryptedData(certificates), plainData(der.sequence(keyBag)));

  // 3. The MAC over both.
  const salt = randomBytes(16);
  const digest = await macOf(safe, passphrase, salt, form);
  const digestInfo = der.sequence(
    der.sequence(der.objectIdentifier(forms[form].oid), der.nullValue),
    der.octetString(digest),
  );
  const macData = der.sequence(digestInfo, der.octetString(salt), der.integer(forms[form].iterations));
  const file = der.sequence(der.integer(3), plainData(safe), macData);

  await requireSame(file, options);
  return file;
}

function requireTypable(passphrase: string, friendlyName: string): void {
  const faults = [];
  if (!/^[\x20-\x7e]{12,128}$/.test(passphrase))
    faults.push({
      pointer: '/passphrase',
      code: 'characters',
      detail: 'A passphrase has 12 to 128 printable ASCII characters; others do not open in every program.',
    });
  if (!/^[^\p{Cc}\p{Cs}\u{10000}-\u{10ffff}]{1,128}$/u.test(friendlyName))
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

async function encrypt(plaintext: Buffer, passphrase: string, form: Pkcs12Form): Promise<Encrypted> {
  if (form === 'modern') return encryptPbes2(plaintext, passphrase, forms.modern.iterations);
  const salt = randomBytes(16);
  const { key, iv } = await tripleDesKey(passphrase, salt);
  const cipher = createCipheriv('des-ede3-cbc', key, iv);
  const parameters = der.sequence(der.octetString(salt), der.integer(forms.legacy.iterations));
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
  const [salt] = der.readSequence(parameters, 'The encryption parameters');
  const { key, iv } = await tripleDesKey(passphrase, der.expect(salt, der.tag.octetString, 'The salt').content);
  const cipher = createDecipheriv('des-ede3-cbc', key, iv);
  return Buffer.concat([cipher.update(encrypted.ciphertext), cipher.final()]);
}

async function tripleDesKey(passphrase: string, salt: Buffer): Promise<{ key: Buffer; iv: Buffer }> {
  return {
    key: await deriveKey(passphrase, salt, 1, 24, 'legacy'),
    iv: await deriveKey(passphrase, salt, 2, 8, 'legacy'),
  };
}

async function macOf(content: Buffer, passphrase: string, salt: Buffer, form: Pkcs12Form): Promise<Buffer> {
  const key = await deriveKey(passphrase, salt, 3, forms[form].hashLength, form);
  return createHmac(forms[form].hash, key).update(content).digest();
}

/** Block size in octets of both SHA-1 and SHA-256. */
const blockLength = 64;

/**
 * RFC 7292 appendix B.2, which OpenSSL does not offer on its own; `id` is 1 for a key, 2 for an IV, 3 for a MAC key.
 * Each hash is native; the event loop gets a turn every 256 of them.
 */
async function deriveKey(passphrase: string, salt: Buffer, id: 1 | 2 | 3, length: number, form: Pkcs12Form) {
  const password = Buffer.from(`${passphrase}\0`, 'utf16le').swap16();
  const diversifier = Buffer.alloc(blockLength, id);
  const input = Buffer.concat([fillBlocks(salt), fillBlocks(password)]);
  const derived: Buffer[] = [];
  for (let have = 0; have < length; ) {
    let digest: Buffer = hash(forms[form].hash, Buffer.concat([diversifier, input]), 'buffer');
    for (let round = 1; round < forms[form].iterations; round++) {
      digest = hash(forms[form].hash, digest, 'buffer');
      if (round % 256 === 0) await setImmediate();
    }
    derived.push(digest);
    have += digest.length;
    addToBlocks(input, fillBlocks(digest).subarray(0, blockLength));
  }
  return Buffer.concat(derived).subarray(0, length);
}

/** `octets` repeated to a whole number of blocks. */
const fillBlocks = (octets: Buffer) => Buffer.alloc(Math.ceil(octets.length / blockLength) * blockLength, octets);

/** Each block of `input` becomes (block + addend + 1) mod 2^512, in place (step 6 C). */
function addToBlocks(input: Buffer, addend: Buffer): void {
  for (let start = 0; start < input.length; start += blockLength) {
    let carry = 1;
    for (let index = blockLength - 1; index >= 0; index--) {
      carry += input[start + index]! + addend[index]!;
      input[start + index] = carry & 0xff;
      carry >>>= 8;
    }
  }
}

// --------------------------------------------------------------------------------------------------------- reading

/**
 * What a file made by `makePkcs12` holds. Throws `invalid` (`pkcs12_unreadable`) for a wrong passphrase, a MAC that does
 * not fit, or a file from elsewhere that is built otherwise.
 */
export async function openPkcs12(file: Buffer, passphrase: string): Promise<Pkcs12Contents> {
  try {
    const [, authenticated, macData] = der.readSequence(der.decode(file), 'PFX');
    const safe = octetsOf(authenticated, pkcs.data);
    await requireMac(safe, macData, passphrase);
    const [certificates, keys] = der.readSequence(der.decode(safe), 'AuthenticatedSafe');
    const bags = der.readSequence(der.decode(await decrypt(encryptedOf(certificates), passphrase)), 'SafeContents');
    const [certificate, ...chain] = bags.map((bag) => {
      const [, value] = der.readSequence(bagValue(bag, pkcs.certBag), 'CertBag');
      return der.expect(inside(value), der.tag.octetString, 'A certificate').content;
    });
    const [keyBag] = der.readSequence(der.decode(octetsOf(keys, pkcs.data)), 'SafeContents');
    const [algorithm, ciphertext] = der.readSequence(bagValue(keyBag, pkcs.pkcs8ShroudedKeyBag), 'The key bag');
    const shrouded = der.expect(ciphertext, der.tag.octetString, 'The encrypted key').content;
    if (!certificate || !algorithm) throw der.malformed('A PKCS#12 without certificate or key.');
    return {
      privateKey: await decrypt({ algorithm: algorithm.raw, ciphertext: shrouded }, passphrase),
      certificate,
      chain,
    };
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
  const [digestInfo, salt] = der.readSequence(macData, 'MacData');
  const [algorithm, digest] = der.readSequence(digestInfo, 'DigestInfo');
  const oid = der.readObjectIdentifier(der.readSequence(algorithm, 'The MAC algorithm')[0], 'The MAC algorithm');
  const form = oid === pkcs.sha256 ? 'modern' : 'legacy';
  const saltOctets = der.expect(salt, der.tag.octetString, 'The MAC salt').content;
  const expected = await macOf(safe, passphrase, saltOctets, form);
  const found = der.expect(digest, der.tag.octetString, 'The MAC').content;
  if (found.length !== expected.length || !timingSafeEqual(found, expected))
    throw der.malformed('The MAC does not fit.');
}

async function requireSame(file: Buffer, wanted: Pkcs12Contents & { passphrase: string }): Promise<void> {
  const unreadable = (cause?: unknown) =>
    new ServiceError({
      kind: 'unavailable',
      code: 'pkcs12_unreadable',
      detail: 'The PKCS#12 file that was made does not open as it should, so it was not handed out.',
      cause,
    });
  let found: Pkcs12Contents;
  try {
    found = await openPkcs12(file, wanted.passphrase);
    // OpenSSL's own reader; it also refuses a key that does not belong to the certificate.
    createSecureContext({ pfx: file, passphrase: wanted.passphrase });
  } catch (cause) {
    throw unreadable(cause);
  }
  const same =
    found.privateKey.equals(wanted.privateKey) &&
    found.certificate.equals(wanted.certificate) &&
    Buffer.concat([...found.chain]).equals(Buffer.concat([...wanted.chain]));
  found.privateKey.fill(0);
  if (!same) throw unreadable();
}
