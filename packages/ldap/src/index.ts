/**
 * LDAP as Congvu uses it: one connection per process that comes back by itself, entries read and written as plain values, the
 * smallest change between what is and what should be, and many changes at the price of few.
 * A server that cannot be reached, or an answer cut short, is always an `unavailable` error and never "nothing there".
 */
import { ServiceError } from '@congvu/errors';
import {
  AddRequest,
  AlreadyExistsError,
  Attribute,
  BerWriter,
  Change,
  Client,
  ConstraintViolationError,
  DN,
  EqualityFilter,
  type Filter,
  InvalidCredentialsError,
  ModifyRequest,
  NoSuchAttributeError,
  NoSuchObjectError,
  OrFilter,
  PresenceFilter,
  ResultCodeError,
} from 'ldapts';
import { type StreamOptions, streamEntries } from './stream-entries.ts';

export { type EntryOctets, EntryReader } from './stream-entries.ts';

import { type MappedOptions, streamInThread } from './stream-in-thread.ts';
import {
  commitTogether,
  createTransactionClient,
  offersTransactions,
  type Request,
  refusalOf,
  type TransactionClient,
} from './transaction.ts';

// ldapts makes a text of every request for its debug log, read or not. Of these there are tens of thousands, and people stand in them.
for (const { prototype } of [AddRequest, ModifyRequest]) Object.assign(prototype, { toJSON: () => undefined });

export { EqualityFilter, type Filter, NoSuchAttributeError, NoSuchObjectError, OrFilter } from 'ldapts';

export type Value = string | Buffer;
/** Attribute values by attribute description; an empty array or an absent name means "no such attribute". */
export type Attributes = Readonly<Record<string, readonly Value[]>>;

export interface Entry {
  dn: string;
  attributes: Attributes;
}

export interface LdapOptions {
  /** `ldap://host:port` or `ldaps://…` */
  url: string;
  bindDn: string;
  password: string;
  timeoutMs?: number;
}

export interface Ldap {
  /** Entries under `base` that match; at most `sizeLimit` (then an error, never a silent cut). */
  search(
    base: string,
    options: { scope: 'base' | 'one' | 'sub'; filter?: Filter; attributes: readonly string[] },
  ): Promise<Entry[]>;
  /**
   * Of the entries directly below `base` those of which the attribute, of one value, is any of `values`. They are asked for a few at a
   * time, because the server holds each entry that it finds against all values of the request, one after the other.
   */
  findBy(base: string, attribute: string, values: readonly string[], attributes: readonly string[]): Promise<Entry[]>;
  find(dn: string, attributes: readonly string[]): Promise<Entry | undefined>;
  /** All entries, in batches, as fast as they are taken; on a connection of its own. Ends only when the server said that it was all. */
  stream(base: string, options: StreamOptions): AsyncGenerator<Entry[]>;
  /** The same in a thread of its own; the default export of the module `map` makes there of each batch of entries what is handed over. */
  streamMapped<T>(base: string, map: URL, options: MappedOptions): AsyncGenerator<T[]>;
  /** False when an entry of that name exists already. */
  add(dn: string, attributes: Attributes): Promise<boolean>;
  modify(dn: string, changes: readonly AttributeChange[]): Promise<void>;
  /**
   * Many additions and modifications, each of another entry; a crowd of them by transactions where the server has these. What became of
   * each, in their order: undefined when done, else the server's refusal, which costs no other. Throws `unavailable` when the
   * server cannot be reached; each was then done or not, and all may be done again.
   */
  applyAll(operations: readonly Operation[]): Promise<(Error | undefined)[]>;
  rename(dn: string, newDn: string): Promise<void>;
  remove(dn: string): Promise<boolean>;
  /** RFC 3062. Throws `invalid` with code `password_policy` when the server's policy refuses the password. */
  setPassword(dn: string, newPassword: string): Promise<void>;
  /**
   * Sets the password only while the entry has `provided`, of which both are one change: false, and nothing done, when it has not.
   * The server hashes it and applies its policy, as in `setPassword`.
   */
  setPasswordIf(dn: string, provided: { attribute: string; value: string }, newPassword: string): Promise<boolean>;
  /** Whether a simple bind as `dn` succeeds, on a connection of its own. */
  verifyPassword(dn: string, password: string): Promise<boolean>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface AttributeChange {
  attribute: string;
  operation: 'add' | 'delete' | 'replace';
  values: readonly Value[];
}

const valuesPerSearch = 20;
/** Outside of transactions; more under way gains nothing. */
const writesAtOnce = 32;
/** Fewer are not worth a transaction: its pause, and what may come of being killed in the middle. */
const fewestTogether = 50;
const mostTogether = 500;

export type Operation =
  | { kind: 'add'; dn: string; attributes: Attributes }
  | { kind: 'modify'; dn: string; changes: readonly AttributeChange[] };

/** Whether an operation of `applyAll` was refused because an entry of that name exists. */
export const isAlreadyThere = (error: Error | undefined): boolean => error instanceof AlreadyExistsError;

/** Whether the server answered and said no; everything else is an outage, or a fault of ours. */
export const isRefusal = (error: unknown): error is Error => error instanceof ResultCodeError;

/** A distinguished name from its parts, each value escaped (RFC 4514). `base` is a DN already. */
export function distinguishedName(rdn: Readonly<Record<string, string>>, base: string): string {
  const [[name, value] = ['', ''], ...more] = Object.entries(rdn);
  // Of these characters none is ever escaped; nearly every name is made of them, and a hundred thousand are made at a time.
  if (more.length === 0 && /^[A-Za-z0-9.-]+$/.test(value)) return `${name}=${value},${base}`;
  return `${new DN({ ...rdn }).toString()},${base}`;
}

/** Whatever has one of the attributes. */
export const anyPresent = (attributes: readonly string[]): Filter =>
  new OrFilter({ filters: attributes.map((attribute) => new PresenceFilter({ attribute })) });

export function openLdap(options: LdapOptions): Ldap {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const connect = (): Client => new Client({ url: options.url, timeout: timeoutMs, connectTimeout: 3_000 });
  let current: Promise<Client> | undefined;
  let hasTransactions: boolean | undefined;
  const crowds = new Set<Promise<unknown>>();

  const bind = async (client: Client): Promise<Client> => {
    try {
      await client.bind(options.bindDn, options.password);
    } catch (error) {
      // A refusal of our own identity too: it says nothing of the request, and may be over when asked again.
      void client.unbind().catch(() => undefined);
      throw unavailable(error);
    }
    return client;
  };

  const bound = (): Promise<Client> => {
    current ??= bind(connect());
    return current;
  };

  const leave = (connection: Promise<Client>): void => {
    if (current === connection) current = undefined;
    void connection.then((client) => client.unbind()).catch(() => undefined);
  };

  /** A connection that failed is left at once, so that the next call makes a new one; callers retry by their own rules. */
  async function withClient<T>(work: (client: Client) => Promise<T>): Promise<T> {
    let connection = bound();
    try {
      if (!(await connection).isConnected) {
        // Closed while nothing was asked, as servers do with idle connections: nothing is lost yet.
        leave(connection);
        connection = bound();
        await connection;
      }
    } catch (error) {
      leave(connection);
      throw error;
    }
    try {
      return await work(await connection);
    } catch (error) {
      if (isAnswer(error)) throw error;
      leave(connection);
      throw unavailable(error);
    }
  }

  const search: Ldap['search'] = (base, { scope, filter, attributes }) =>
    withClient(async (client) => {
      const { searchEntries } = await client.search(base, {
        scope,
        ...(filter ? { filter } : {}),
        attributes: [...attributes],
        explicitBufferAttributes: attributes.filter((name) => name.endsWith(';binary')),
        timeLimit: Math.ceil(timeoutMs / 1_000),
      });
      return searchEntries.map(({ dn, ...values }) => ({ dn, attributes: toAttributes(values) }));
    });

  async function applySingly(requests: readonly Request[]): Promise<(Error | undefined)[]> {
    const outcomes: (Error | undefined)[] = [];
    for (let start = 0; start < requests.length; start += writesAtOnce) {
      const part = requests.slice(start, start + writesAtOnce).map((request) => refusalOf(withClient(request)));
      outcomes.push(...(await Promise.all(part)));
    }
    return outcomes;
  }

  /** Where a crowd is refused, its halves are tried: what is at fault is soon among few, and those go one by one. */
  async function applyTogether(
    connection: TransactionClient,
    requests: readonly Request[],
  ): Promise<(Error | undefined)[]> {
    if (requests.length < fewestTogether) return applySingly(requests);
    if (requests.length <= mostTogether) {
      const outcomes = await commitTogether(connection, requests);
      if (outcomes) return outcomes;
    }
    const middle = Math.ceil(requests.length / 2);
    const first = await applyTogether(connection, requests.slice(0, middle));
    return [...first, ...(await applyTogether(connection, requests.slice(middle)))];
  }

  async function applyCrowd(requests: readonly Request[]): Promise<(Error | undefined)[]> {
    hasTransactions ??= await withClient(offersTransactions);
    if (!hasTransactions) return applySingly(requests);
    const connection = createTransactionClient(options.url);
    await bind(connection.client);
    try {
      return await applyTogether(connection, requests);
    } catch (error) {
      throw error instanceof ServiceError ? error : unavailable(error);
    } finally {
      await connection.client.unbind().catch(() => undefined);
    }
  }

  const findBy: Ldap['findBy'] = async (base, attribute, values, attributes) => {
    const searches: Promise<Entry[]>[] = [];
    for (let start = 0; start < values.length; start += valuesPerSearch) {
      const some = values.slice(start, start + valuesPerSearch);
      const filter = new OrFilter({ filters: some.map((value) => new EqualityFilter({ attribute, value })) });
      searches.push(search(base, { scope: 'one', filter, attributes }));
    }
    return (await Promise.all(searches)).flat();
  };

  return {
    search,
    findBy,
    find: async (dn, attributes) => {
      try {
        return (await search(dn, { scope: 'base', attributes }))[0];
      } catch (error) {
        if (error instanceof NoSuchObjectError) return undefined;
        throw error;
      }
    },
    stream: (base, what) => streamEntries(options, base, what),
    streamMapped: (base, map, what) => streamInThread({ ldap: options, base, options: what, map: map.href }),
    add: async (dn, attributes) => {
      try {
        await withClient(toRequest({ kind: 'add', dn, attributes }));
        return true;
      } catch (error) {
        if (error instanceof AlreadyExistsError) return false;
        throw error;
      }
    },
    modify: async (dn, changes) => {
      await withClient(toRequest({ kind: 'modify', dn, changes }));
    },
    applyAll: async (operations) => {
      const requests = operations.map(toRequest);
      if (requests.length < fewestTogether) return applySingly(requests);
      const crowd = applyCrowd(requests);
      crowds.add(crowd);
      try {
        return await crowd;
      } finally {
        crowds.delete(crowd);
      }
    },
    rename: (dn, newDn) => withClient((client) => client.modifyDN(dn, newDn)),
    remove: async (dn) => {
      try {
        await withClient((client) => client.del(dn));
        return true;
      } catch (error) {
        if (error instanceof NoSuchObjectError) return false;
        throw error;
      }
    },
    setPassword: async (dn, newPassword) => {
      try {
        await withClient((client) => client.exop(passwordModifyOid, passwordModifyValue(dn, newPassword)));
      } catch (error) {
        throw passwordRefusal(error);
      }
    },
    setPasswordIf: async (dn, { attribute, value }, newPassword) => {
      const changes: AttributeChange[] = [
        { attribute, operation: 'delete', values: [value] },
        { attribute, operation: 'add', values: [value] },
        { attribute: 'userPassword', operation: 'replace', values: [newPassword] },
      ];
      try {
        await withClient(toRequest({ kind: 'modify', dn, changes }));
        return true;
      } catch (error) {
        if (error instanceof NoSuchAttributeError || error instanceof NoSuchObjectError) return false;
        throw passwordRefusal(error);
      }
    },
    verifyPassword: async (dn, password) => {
      if (password === '') return false; // RFC 4513 section 5.1.2: an empty password would be an anonymous bind
      const client = connect();
      try {
        await client.bind(dn, password);
        return true;
      } catch (error) {
        if (error instanceof InvalidCredentialsError || error instanceof NoSuchObjectError) return false;
        throw isAnswer(error) ? error : unavailable(error);
      } finally {
        await client.unbind().catch(() => undefined);
      }
    },
    ping: async () => {
      await search('', { scope: 'base', attributes: ['namingContexts'] });
    },
    close: async () => {
      await Promise.allSettled(crowds);
      const connection = current;
      current = undefined;
      await connection?.then((client) => client.unbind()).catch(() => undefined);
    },
  };
}

/** What the password policy refuses is the caller's fault; everything else stays what it is. */
function passwordRefusal(error: unknown): unknown {
  if (!(error instanceof ConstraintViolationError)) return error;
  const detail = `The password policy refuses this password: ${error.message.replace(/ Code: 0x\w+$/, '')}.`;
  return new ServiceError({
    kind: 'invalid',
    code: 'password_policy',
    detail,
    faults: [{ pointer: '/password', code: 'password_policy', detail }],
  });
}

/** The server answered, with a refusal that says something of the request; not busy, closing or broken. */
const transientCodes = new Set([51, 52, 80]); // busy, unavailable, other (RFC 4511 section 4.1.9)
const isAnswer = (error: unknown): boolean =>
  error instanceof ServiceError || (error instanceof ResultCodeError && !transientCodes.has(error.code));

const unavailable = (cause: unknown): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'ldap_unavailable',
    detail: 'The LDAP directory does not answer; try again shortly.',
    retryAfterSeconds: 5,
    cause,
  });

const toRequest = (operation: Operation): Request => {
  if (operation.kind === 'add') {
    const attributes = Object.entries(operation.attributes)
      .filter(([, values]) => values.length > 0)
      .map(([type, values]) => toLdapAttribute(type, values));
    return (client, control) => client.add(operation.dn, attributes, control);
  }
  const changes = operation.changes.map(
    (change) =>
      new Change({ operation: change.operation, modification: toLdapAttribute(change.attribute, change.values) }),
  );
  return (client, control) => client.modify(operation.dn, changes, control);
};

const toLdapAttribute = (type: string, values: readonly Value[]): Attribute =>
  new Attribute({
    type,
    values: values.some(Buffer.isBuffer) ? values.map((value) => Buffer.from(value as Buffer)) : (values as string[]),
  });

function toAttributes(values: Record<string, Value | readonly Value[]>): Attributes {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? value : [value as Value]]),
  );
}

const passwordModifyOid = '1.3.6.1.4.1.4203.1.11.1';

/** PasswdModifyRequestValue (RFC 3062 section 2): userIdentity [0], newPasswd [2]. */
function passwordModifyValue(dn: string, newPassword: string): Buffer {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeString(dn, 0x80);
  writer.writeString(newPassword, 0x82);
  writer.endSequence();
  return writer.buffer;
}

/** The smallest change from `actual` to `wanted`; only the attributes named in `wanted` are looked at. */
export function diffAttributes(actual: Attributes, wanted: Attributes): AttributeChange[] {
  const changes: AttributeChange[] = [];
  for (const [attribute, values] of Object.entries(wanted)) {
    if (isSame(actual[attribute] ?? [], values)) continue; // nearly always, and sets cost
    const have = new Set((actual[attribute] ?? []).map(comparable));
    const unique = [...new Map(values.map((value) => [comparable(value), value])).values()];
    const want = new Set(unique.map(comparable));
    const missing = unique.filter((value) => !have.has(comparable(value)));
    const surplus = (actual[attribute] ?? []).filter((value) => !want.has(comparable(value)));
    if (missing.length === 0 && surplus.length === 0) continue;
    if (have.size <= 1 && want.size <= 1) changes.push({ attribute, operation: 'replace', values: unique });
    else {
      if (surplus.length > 0) changes.push({ attribute, operation: 'delete', values: surplus });
      if (missing.length > 0) changes.push({ attribute, operation: 'add', values: missing });
    }
  }
  return changes;
}

const isSame = (some: readonly Value[], others: readonly Value[]): boolean =>
  some.length === others.length &&
  some.every((value, index) => {
    const other = others[index];
    return value === other || (Buffer.isBuffer(value) && Buffer.isBuffer(other) && value.equals(other));
  });

const comparable = (value: Value): string => (Buffer.isBuffer(value) ? value.toString('base64') : value);
