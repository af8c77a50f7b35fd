/**
 * A private key that never leaves its token (an HSM, SoftHSM), by PKCS#11 2.40. The token's own library is called through Koffi, on
 * threads of their own, so that a slow token holds up no request; each of a few sessions does one signature at a time. A session
 * that the token has forgotten (it was unplugged, restarted) is opened anew once before a signature fails.
 */
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ServiceError } from '@congvu/errors';
import type { KoffiFunc } from 'koffi';
import * as der from './der.ts';
import type { SignatureAlgorithm } from './signature.ts';

export interface TokenKey {
  /** Signature octets over `data`; DER-encoded for ECDSA. Throws `unavailable` (`token_failed`). */
  sign(algorithm: SignatureAlgorithm, data: Buffer): Promise<Buffer>;
}

interface TokenKeyName {
  readonly module: string;
  readonly token: string | undefined;
  readonly serial: string | undefined;
  readonly object: string | undefined;
  readonly id: Buffer | undefined;
  readonly pinSource: string | undefined;
}

const unusable = (detail: string, cause?: unknown) =>
  new ServiceError({ kind: 'invalid', code: 'token_key_unusable', detail, cause });

/**
 * Opens the key that `uri` names (RFC 7512): `token` or `serial`, `object` or `id`, `module-path`, and `pin-source` unless `pin` is
 * given. Throws `invalid` (`token_key_unusable`) if it names no key, or more than one, that this PIN opens.
 */
export async function openTokenKey(uri: string, pin: string | undefined): Promise<TokenKey> {
  const name = readUri(uri);
  const given = name.pinSource ? (await readFile(name.pinSource, 'utf8')).split(/\r?\n/, 1)[0] : pin;
  if (!given) throw unusable('The PIN of the token is not given: neither pin-source nor a passphrase.');
  const sessions = new Sessions(await loadModule(name.module), name, given);
  await sessions.with(async () => undefined);
  return { sign: (algorithm, data) => sessions.with((session) => signIn(session, algorithm, data)) };
}

function readUri(uri: string): TokenKeyName {
  const parts = /^pkcs11:([^?]*)(?:\?(.*))?$/.exec(uri.trim());
  if (!parts)
    throw unusable('The name of a key in a token has the form pkcs11:token=…;object=…?module-path=… (RFC 7512).');
  const attributes = (text: string | undefined, separator: string) =>
    new Map(
      (text ?? '').split(separator).flatMap((pair) => {
        const at = pair.indexOf('=');
        return at > 0 ? [[pair.slice(0, at), pair.slice(at + 1)] as const] : [];
      }),
    );
  const path = attributes(parts[1], ';');
  const query = attributes(parts[2], '&');
  const text = (value: string | undefined) => (value === undefined ? undefined : decodeURIComponent(value));
  const file = (value: string | undefined) => (value?.startsWith('file:') ? fileURLToPath(value) : value);
  const module = text(query.get('module-path'));
  const id = path.get('id');
  if (!module) throw unusable('The name of a key in a token must say module-path, the library of the token.');
  if (!path.get('token') && !path.get('serial'))
    throw unusable('The name of a key in a token must say token or serial.');
  if (!path.get('object') && !id) throw unusable('The name of a key in a token must say object or id.');
  return {
    module,
    token: text(path.get('token')),
    serial: text(path.get('serial')),
    object: text(path.get('object')),
    id: id === undefined ? undefined : octetsOf(id),
    pinSource: file(text(query.get('pin-source'))),
  };
}

const octetsOf = (encoded: string): Buffer =>
  Buffer.from(
    encoded.replace(/%([0-9a-f]{2})/gi, (_, pair: string) => String.fromCharCode(Number.parseInt(pair, 16))),
    'latin1',
  );

/** Return values of PKCS#11 (section 5.1) that are met here. */
const returned = {
  ok: 0,
  pinIncorrect: 0xa0,
  alreadyLoggedIn: 0x100,
  alreadyInitialized: 0x191,
} as const;
/** What was opened is gone: DEVICE_ERROR, DEVICE_REMOVED, KEY_HANDLE_INVALID, OBJECT_HANDLE_INVALID, SESSION_CLOSED, SESSION_HANDLE_INVALID, TOKEN_NOT_PRESENT, USER_NOT_LOGGED_IN. */
const forgotten: readonly number[] = [0x30, 0x32, 0x60, 0x82, 0xb0, 0xb3, 0xe0, 0x101];
const attributeType = { class: 0x0, label: 0x3, id: 0x102 } as const;
const privateKeyClass = 3;
const mechanism = { rsaPkcs: 0x1, ecdsa: 0x1041, eddsa: 0x1057 } as const;

class TokenFailure extends Error {
  readonly value: number;
  constructor(call: string, value: number) {
    super(`${call} returned 0x${value.toString(16)}`);
    this.value = value;
  }
}

/** The library of a token, initialised once in this process. */
interface Module {
  call(name: keyof typeof signatures, ...parameters: unknown[]): Promise<void>;
}

const signatures = {
  C_Initialize: ['address'],
  C_GetSlotList: ['byte', 'address', 'address'],
  C_GetTokenInfo: ['ulong', 'address'],
  C_OpenSession: ['ulong', 'ulong', 'address', 'address', 'address'],
  C_CloseSession: ['ulong'],
  C_Login: ['ulong', 'ulong', 'address', 'ulong'],
  C_FindObjectsInit: ['ulong', 'attributes', 'ulong'],
  C_FindObjects: ['ulong', 'address', 'ulong', 'address'],
  C_FindObjectsFinal: ['ulong'],
  C_SignInit: ['ulong', 'mechanism', 'ulong'],
  C_Sign: ['ulong', 'address', 'ulong', 'address', 'address'],
} as const;

const modules = new Map<string, Promise<Module>>();

function loadModule(path: string): Promise<Module> {
  const known = modules.get(path) ?? initialise(path);
  modules.set(path, known);
  known.catch(() => modules.delete(path));
  return known;
}

async function initialise(path: string): Promise<Module> {
  // Only where a key is in a token: elsewhere the library need not even be installed.
  const { default: koffi } = await import('koffi');
  if (koffi.sizeof('ulong') !== 8) throw unusable('Keys in tokens need a 64-bit system.');
  const types = {
    ulong: 'ulong',
    byte: 'uint8_t',
    address: 'void *',
    attributes: koffi.pointer(koffi.struct({ type: 'ulong', pValue: 'void *', ulValueLen: 'ulong' })),
    mechanism: koffi.pointer(koffi.struct({ mechanism: 'ulong', pParameter: 'void *', ulParameterLen: 'ulong' })),
  };
  let functions: Record<string, KoffiFunc<(...parameters: unknown[]) => unknown>>;
  try {
    const library = koffi.load(path);
    functions = Object.fromEntries(
      Object.entries(signatures).map(([name, parameters]) => [
        name,
        library.func(
          name,
          'ulong',
          parameters.map((type) => types[type]),
        ),
      ]),
    );
  } catch (cause) {
    throw unusable(`The library of the token, ${path}, cannot be loaded.`, cause);
  }
  const module: Module = {
    call: async (name, ...parameters) => {
      const called = promisify(functions[name]!.async) as (...all: unknown[]) => Promise<unknown>;
      const value = Number(await called(...parameters));
      if (value !== returned.ok) throw new TokenFailure(name, value);
    },
  };
  // CK_C_INITIALIZE_ARGS with CKF_OS_LOCKING_OK alone: we call from several threads.
  const several = Buffer.alloc(48);
  several.writeBigUInt64LE(2n, 32);
  await module.call('C_Initialize', several).catch(unless(returned.alreadyInitialized));
  return module;
}

const unless =
  (...values: number[]) =>
  (error: unknown): void => {
    if (!(error instanceof TokenFailure) || !values.includes(error.value)) throw error;
  };

interface Session {
  readonly module: Module;
  readonly handle: bigint;
  readonly key: bigint;
}

/** As many signatures at a time as threads work on them. */
const sessionCount = 4;

class Sessions {
  private readonly module: Module;
  private readonly name: TokenKeyName;
  private readonly pin: Buffer;
  private readonly idle: (Session | undefined)[] = Array.from({ length: sessionCount }, () => undefined);
  private readonly waiting: ((session: Session | undefined) => void)[] = [];

  constructor(module: Module, name: TokenKeyName, pin: string) {
    this.module = module;
    this.name = name;
    this.pin = Buffer.from(pin);
  }

  /** Runs `work` in a session that nobody else uses meanwhile. */
  async with<T>(work: (session: Session) => Promise<T>): Promise<T> {
    let session =
      this.idle.length > 0
        ? this.idle.pop()
        : await new Promise<Session | undefined>((resolve) => this.waiting.push(resolve));
    try {
      const reused = session !== undefined;
      session ??= await this.open();
      try {
        return await work(session);
      } catch (error) {
        if (!reused || !(error instanceof TokenFailure) || !forgotten.includes(error.value)) throw error;
        session = undefined;
        session = await this.open();
        return await work(session);
      }
    } catch (error) {
      // What state it is in nobody knows: the next one gets a new one.
      if (session) await this.module.call('C_CloseSession', session.handle).catch(() => undefined);
      session = undefined;
      if (!(error instanceof TokenFailure)) throw error;
      throw new ServiceError({
        kind: 'unavailable',
        code: 'token_failed',
        detail: 'The token that holds the key did not sign.',
        cause: error,
      });
    } finally {
      const next = this.waiting.shift();
      if (next) next(session);
      else this.idle.push(session);
    }
  }

  private async open(): Promise<Session> {
    const { module } = this;
    const opened = Buffer.alloc(8);
    await module.call('C_OpenSession', await this.findSlot(), 4n, null, null, opened);
    const handle = opened.readBigUInt64LE();
    try {
      await module
        .call('C_Login', handle, 1n, this.pin, BigInt(this.pin.length))
        .catch(unless(returned.alreadyLoggedIn));
      return { module, handle, key: await this.findKey(handle) };
    } catch (error) {
      await module.call('C_CloseSession', handle).catch(() => undefined);
      if (error instanceof TokenFailure && error.value === returned.pinIncorrect)
        throw unusable('The PIN of the token is not right.');
      throw error;
    }
  }

  private async findSlot(): Promise<bigint> {
    const count = Buffer.alloc(8);
    await this.module.call('C_GetSlotList', 1, null, count);
    const slots = Buffer.alloc(8 * Math.max(1, Number(count.readBigUInt64LE())));
    await this.module.call('C_GetSlotList', 1, slots, count);
    const { token, serial } = this.name;
    for (let index = 0; index < Number(count.readBigUInt64LE()); index++) {
      const slot = slots.readBigUInt64LE(index * 8);
      // CK_TOKEN_INFO: label 32, manufacturer 32, model 16, serial number 16, each padded with blanks.
      const info = Buffer.alloc(256);
      await this.module.call('C_GetTokenInfo', slot, info);
      const field = (from: number, to: number) => info.toString('utf8', from, to).trimEnd();
      if ((!token || field(0, 32) === token) && (!serial || field(80, 96) === serial)) return slot;
    }
    throw unusable(`There is no token ${token ?? serial}.`);
  }

  private async findKey(session: bigint): Promise<bigint> {
    const { module, name } = this;
    const ofClass = Buffer.alloc(8);
    ofClass.writeBigUInt64LE(BigInt(privateKeyClass));
    const template = [
      { type: attributeType.class, value: ofClass },
      ...(name.object === undefined ? [] : [{ type: attributeType.label, value: Buffer.from(name.object) }]),
      ...(name.id === undefined ? [] : [{ type: attributeType.id, value: name.id }]),
    ].map(({ type, value }) => ({ type, pValue: value, ulValueLen: value.length }));
    await module.call('C_FindObjectsInit', session, template, BigInt(template.length));
    const found = Buffer.alloc(16);
    const count = Buffer.alloc(8);
    try {
      await module.call('C_FindObjects', session, found, 2n, count);
    } finally {
      await module.call('C_FindObjectsFinal', session);
    }
    const matches = Number(count.readBigUInt64LE());
    if (matches !== 1)
      throw unusable(`The token holds ${matches === 0 ? 'no private key' : 'more than one private key'} of that name.`);
    return found.readBigUInt64LE();
  }
}

/** DigestInfo up to the digest (RFC 8017 section 9.2, note 1). */
const digestInfo = {
  sha256: Buffer.from('3031300d060960864801650304020105000420', 'hex'),
  sha384: Buffer.from('3041300d060960864801650304020205000430', 'hex'),
  sha512: Buffer.from('3051300d060960864801650304020305000440', 'hex'),
} as const;

async function signIn(session: Session, algorithm: SignatureAlgorithm, data: Buffer): Promise<Buffer> {
  const digest = algorithm.hash === null ? data : hash(algorithm.hash, data, 'buffer');
  const [type, input] =
    algorithm.key === 'rsa' && algorithm.hash !== null
      ? [mechanism.rsaPkcs, Buffer.concat([digestInfo[algorithm.hash], digest])]
      : [algorithm.key === 'ec' ? mechanism.ecdsa : mechanism.eddsa, digest];
  const { module, handle, key } = session;
  await module.call('C_SignInit', handle, { mechanism: type, pParameter: null, ulParameterLen: 0 }, key);
  const signature = Buffer.alloc(1024);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(signature.length));
  await module.call('C_Sign', handle, input, BigInt(input.length), signature, length);
  const made = signature.subarray(0, Number(length.readBigUInt64LE()));
  if (algorithm.key !== 'ec') return made;
  // r and s side by side (PKCS#11 section 2.3.1); certificates carry them as a SEQUENCE (RFC 3279 section 2.2.3).
  const half = made.length / 2;
  const number = (octets: Buffer) => der.integer(BigInt(`0x${octets.toString('hex')}`));
  return der.sequence(number(made.subarray(0, half)), number(made.subarray(half)));
}
