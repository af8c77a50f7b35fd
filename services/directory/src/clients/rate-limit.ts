/** Slows down guessing: counts failures and successes alike, per address of the asker and per name that is tried, for all processes together. */
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible';

/** Throws `rate_limited`, with the time to wait, when either was seen too often. */
export type RateLimit = (ip: string, name: string) => Promise<void>;

export function createRateLimit(
  database: Database,
  options: { name: string; perIp: number; perName: number; seconds: number },
): RateLimit {
  const limiter = (kind: string, points: number): RateLimiterPostgres =>
    new RateLimiterPostgres({
      storeClient: database,
      storeType: 'knex',
      schemaName: 'directory',
      tableName: 'rate_limits',
      tableCreated: true,
      keyPrefix: `${options.name}:${kind}`,
      points,
      duration: options.seconds,
    });
  const byIp = limiter('ip', options.perIp);
  const byName = limiter('name', options.perName);
  return async (ip, name) => {
    try {
      // The address first: one that is refused must not use up the attempts of the name.
      await byIp.consume(ip);
      await byName.consume(name.toLowerCase().slice(0, 200));
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const seconds = Math.ceil(refusal.msBeforeNext / 1_000);
      throw new ServiceError({
        kind: 'rate_limited',
        code: 'too_many_attempts',
        detail: `Too many attempts; wait ${seconds} seconds.`,
        retryAfterSeconds: seconds,
      });
    }
  };
}
