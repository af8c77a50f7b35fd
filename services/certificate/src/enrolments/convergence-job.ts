/** A hundred changes of one account ask for one convergence of its certificates. */
import type { JobSpec } from '@congvu/database';

export const convergenceJob = (accountId: string): JobSpec => ({
  task: 'converge-certificates',
  payload: { accountIds: [accountId] },
  key: `certificates:${accountId}`,
});

/** The same as soon as a server-made key is ready: one account after the other, so that those that wait leave room for the rest. */
export const awaitKeyJob = (accountId: string): JobSpec => ({
  task: 'await-key',
  payload: { accountId },
  key: `server-key:${accountId}`,
  queue: 'server-keys',
});
