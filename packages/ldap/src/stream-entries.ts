/**
 * Reads all entries below a base, however many, in memory that does not grow with them: one search on a connection of its own,
 * whose socket is read only as fast as the entries are taken. An answer that is cut short, or that the server says is not whole,
 * is an error and never an end.
 *
 * The decoding of search results (RFC 4511 section 4.5.2) is our own, because ldapts keeps every entry until the last has come and
 * takes three times as long as ldapsearch; requests and errors are ldapts's.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { ServiceError } from '@congvu/errors';
import {
  BerReader,
  BindRequest,
  type Filter,
  PresenceFilter,
  SearchRequest,
  SearchResponse,
  StatusCodeParser,
} from 'ldapts';
import type { Entry, LdapOptions, Value } from './index.ts';

export interface StreamOptions {
  scope: 'one' | 'sub';
  filter?: Filter;
  /** Names ending in `;binary` give Buffers, all others text. */
  attributes: readonly string[];
  /** About so many entries are handed over together. */
  batchSize?: number;
}

const silenceMs = 60_000;

/** Decoded. */
export async function* streamEntries(options: LdapOptions, base: string, what: StreamOptions): AsyncGenerator<Entry[]> {
  for await (const batch of streamOctets(options, base, what)) yield batch.map(toEntry);
}

/** As they came, for `EntryReader`. */
export async function* streamOctets(
  options: LdapOptions,
  base: string,
  { scope, filter = new PresenceFilter({ attribute: 'objectClass' }), attributes, batchSize = 1_000 }: StreamOptions,
): AsyncGenerator<EntryOctets[]> {
  const socket = await connect(options.url);
  try {
    socket.write(new BindRequest({ messageId: 1, dn: options.bindDn, password: options.password }).write());
    let batch: EntryOctets[] = [];
    for await (const messages of messagesOf(socket)) {
      for (const message of messages) {
        if (message.operation === operations.entry) batch.push(message);
        else if (message.operation === operations.bindResponse) {
          requireSuccess(message, 'bind');
          const search = { baseDN: base, scope, filter, attributes: [...attributes], sizeLimit: 0, timeLimit: 0 };
          socket.write(new SearchRequest({ messageId: 2, ...search }).write());
        } else if (message.operation === operations.done) {
          requireSuccess(message, 'search');
          if (batch.length > 0) yield batch;
          return;
        } else {
          // A referral to where the rest would be, or the server's notice that it closes (RFC 4511 section 4.4.1).
          throw incomplete(new Error(`LDAP message 0x${message.operation.toString(16)} in the answer to a search`));
        }
      }
      if (batch.length < batchSize) continue;
      yield batch;
      batch = [];
    }
    throw incomplete(new Error('the connection ended before the answer did'));
  } finally {
    socket.destroy();
  }
}

const operations = { bindResponse: 0x61, entry: 0x64, done: 0x65 } as const;

/** Where the content of a SearchResultEntry is. */
export interface EntryOctets {
  bytes: Buffer;
  start: number;
}

interface Message extends EntryOctets {
  operation: number;
  end: number;
  /** Where the next message begins. */
  next: number;
}

async function connect(url: string): Promise<Socket> {
  const { protocol, hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const secure = protocol === 'ldaps:';
  const target = { host, port: Number(port) || (secure ? 636 : 389) };
  return new Promise((resolve, reject) => {
    const socket = secure ? connectTls({ ...target, servername: host }) : connectTcp(target);
    // Also when nobody takes entries for so long: a search must not stay open on the server for ever.
    socket.setTimeout(silenceMs, () => socket.destroy(new Error(`LDAP was silent for ${silenceMs / 1_000} s`)));
    socket.once('error', (cause) => reject(incomplete(cause)));
    socket.once(secure ? 'secureConnect' : 'connect', () => resolve(socket));
  });
}

/** The messages that are whole, as octets come; one that is not waits for its rest. */
async function* messagesOf(socket: Socket): AsyncGenerator<Message[]> {
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const messages: Message[] = [];
      let offset = 0;
      for (let message = messageAt(bytes, 0); message; message = messageAt(bytes, offset)) {
        messages.push(message);
        offset = message.next;
      }
      yield messages;
      rest = bytes.subarray(offset);
    }
  } catch (cause) {
    throw cause instanceof ServiceError ? cause : incomplete(cause);
  }
}

/** LDAPMessage ::= SEQUENCE { messageID, protocolOp, controls }; undefined while some of it has not come. */
function messageAt(bytes: Buffer, offset: number): Message | undefined {
  const at = new Cursor(bytes, offset);
  // The longest tag and length that we take are six octets; the shortest message has more behind them.
  if (bytes.length - offset < 7) return undefined;
  const next = at.enter();
  if (next > bytes.length) return undefined;
  at.offset = at.enter(); // over the messageID: nothing else is under way on this connection
  const operation = bytes[at.offset] as number;
  const end = at.enter();
  return { operation, bytes, start: at.offset, end, next };
}

/** A place in BER as LDAP restricts it (RFC 4511 section 5.1): one octet of tag, a definite length. */
class Cursor {
  readonly bytes: Buffer;
  offset: number;

  constructor(bytes: Buffer, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /** Goes to the content of the element here, and returns where that ends. */
  enter(): number {
    const first = this.bytes[this.offset + 1] as number;
    this.offset += 2;
    if (first < 0x80) return this.offset + first;
    const octets = first & 0x7f;
    if (octets === 0 || octets > 4) throw incomplete(new Error('an LDAP message of no or of absurd length'));
    const length = this.bytes.readUIntBE(this.offset, octets);
    this.offset += octets;
    return this.offset + length;
  }
}

/** What `toString` does after it has looked at its arguments; there are forty texts an entry, and that takes as long again. */
interface Slices {
  utf8Slice(start: number, end: number): string;
  latin1Slice(start: number, end: number): string;
}

/**
 * Goes through SearchResultEntry ::= SEQUENCE { objectName, attributes SEQUENCE OF SEQUENCE { type, vals SET OF value } } and says
 * where in `bytes` each part lies: first `start` and `end` of the name, then of an attribute's description after `nextAttribute`, and of
 * a value after `nextValue`.
 */
export class EntryReader {
  readonly bytes: Buffer;
  start: number;
  end: number;
  readonly #at: Cursor;
  readonly #listEnd: number;
  /** Of the values of the attribute. */
  setStart = 0;
  setEnd = 0;

  constructor({ bytes, start }: EntryOctets) {
    this.bytes = bytes;
    this.#at = new Cursor(bytes, start);
    this.end = this.#at.enter();
    this.start = this.#at.offset;
    this.#at.offset = this.end;
    this.#listEnd = this.#at.enter();
    this.setEnd = this.#at.offset;
  }

  nextAttribute(): boolean {
    const at = this.#at;
    at.offset = this.setEnd;
    if (at.offset >= this.#listEnd) return false;
    at.enter();
    this.end = at.enter();
    this.start = at.offset;
    at.offset = this.end;
    this.setEnd = at.enter();
    this.setStart = at.offset;
    return true;
  }

  nextValue(): boolean {
    const at = this.#at;
    if (at.offset >= this.setEnd) return false;
    this.end = at.enter();
    this.start = at.offset;
    at.offset = this.end;
    return true;
  }
}

function toEntry(octets: EntryOctets): Entry {
  const { bytes } = octets;
  const text = bytes as unknown as Slices;
  const reader = new EntryReader(octets);
  const attributes: Record<string, Value[]> = {};
  const dn = text.utf8Slice(reader.start, reader.end);
  while (reader.nextAttribute()) {
    const description = text.latin1Slice(reader.start, reader.end);
    const isBinary = description.endsWith(';binary');
    const values: Value[] = [];
    while (reader.nextValue()) {
      const { start, end } = reader;
      values.push(isBinary ? bytes.subarray(start, end) : text.utf8Slice(start, end));
    }
    attributes[description] = values;
  }
  return { dn, attributes };
}

/** LDAPResult (RFC 4511 section 4.1.9). A base that is missing is the caller's to judge, any limit is an answer cut short. */
function requireSuccess({ bytes, start, end }: Message, what: 'bind' | 'search'): void {
  const at = new Cursor(bytes, start);
  const codeEnd = at.enter();
  const status = bytes.readUIntBE(at.offset, codeEnd - at.offset);
  if (status === 0) return;
  const result = new SearchResponse({ messageId: 2 });
  result.parse(new BerReader(bytes.subarray(start, end)), []);
  const error = StatusCodeParser.parse(result);
  if (what === 'search' && status === noSuchObject) throw error;
  throw incomplete(error);
}
const noSuchObject = 32;

const incomplete = (cause: unknown): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'ldap_unavailable',
    detail: `The LDAP directory did not answer in full (${cause instanceof Error ? cause.message : 'no reason given'}).`,
    retryAfterSeconds: 5,
    cause,
  });
