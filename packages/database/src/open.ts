/** A pool on PostgreSQL with limits that hold even when a query or a client goes astray. */
import { ServiceError } from '@congvu/errors';
import knex, { type Knex } from 'knex';

export type Database = Knex;
export type Transaction = Knex.Transaction;
/** The first parameter of every store function: the pool, or the transaction that the caller is in. */
export type Connection = Knex | Knex.Transaction;

export function openDatabase(options: { url: string; name: string; poolSize?: number }): Database {
  return knex({
    client: 'pg',
    connection: {
      connectionString: options.url,
      application_name: options.name,
      connectionTimeoutMillis: 5_000,
      statement_timeout: 60_000,
      idle_in_transaction_session_timeout: 30_000,
      keepAlive: true,
    },
    // Otherwise a failed statement's error message, and so the log, would hold the values, and with them people.
    compileSqlOnError: false,
    pool: { min: 0, max: options.poolSize ?? 10 },
    acquireConnectionTimeout: 10_000,
    // What knex prints by itself it also throws; standard output belongs to the JSON log.
    log: { warn: () => undefined, error: () => undefined },
  });
}

/**
 * A statement that each connection parses and plans once, for what is asked often: planning a view of many tables takes longer than
 * answering. The text must always be the same under a name: lists go as arrays.
 */
export const prepared = <R>(
  connection: Connection,
  name: string,
  sql: string,
  bindings: readonly unknown[],
): Promise<{ rows: R[] }> =>
  connection.raw(sql, bindings as never[]).options({ name }) as unknown as Promise<{ rows: R[] }>;

const oidOfBytea = 17;

/**
 * Octet strings as one value of type bytea[], in the binary form that PostgreSQL itself sends and receives (array_send): as text they
 * would be twice as long, and read sign by sign.
 */
export function byteaArray(values: readonly Buffer[]): Buffer {
  if (values.length === 0) return Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, oidOfBytea]);
  const octets = Buffer.allocUnsafe(20 + values.reduce((sum, value) => sum + 4 + value.length, 0));
  // Dimensions, whether there are nulls, the type of the elements; of the one dimension its length and where it begins.
  let at = 0;
  for (const number of [1, 0, oidOfBytea, values.length, 1]) at = octets.writeInt32BE(number, at);
  for (const value of values) {
    at = octets.writeInt32BE(value.length, at);
    at += value.copy(octets, at);
  }
  return octets;
}

/** Throws `unavailable` unless the database answers. */
export async function pingDatabase(database: Connection): Promise<void> {
  await database.raw('select 1').catch((cause: unknown) => {
    throw databaseUnavailable(cause);
  });
}

/**
 * SQLSTATE classes and system errors that say: not now. Connection exceptions, transactions rolled back for another's sake
 * (deadlocks), operator intervention, no more connections.
 */
const unavailableCodes = /^(08|40|57P|53|ECONN|EPIPE|ETIMEDOUT)/;

/** A failure of the database to answer, as `unavailable`; any other error as it is. */
export function translateDatabaseError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ServiceError) return error;
  const { code } = error as { code?: unknown };
  const isUnavailable =
    (typeof code === 'string' && unavailableCodes.test(code)) ||
    error.name === 'KnexTimeoutError' ||
    /Connection terminated|connection error and is not queryable|timeout exceeded when trying to connect/.test(
      error.message,
    );
  return isUnavailable ? databaseUnavailable(error) : error;
}

const databaseUnavailable = (cause: unknown): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'database_unavailable',
    detail: 'The database does not answer; try again shortly.',
    retryAfterSeconds: 5,
    cause,
  });

/** The constraint that a failed statement broke (SQLSTATE class 23), else undefined. */
export function brokenConstraint(error: unknown): string | undefined {
  const { code, constraint } = error as { code?: unknown; constraint?: unknown };
  return typeof code === 'string' && code.startsWith('23') && typeof constraint === 'string' ? constraint : undefined;
}
