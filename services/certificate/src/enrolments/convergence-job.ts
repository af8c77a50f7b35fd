/** The jobs of this service that are asked for in more than one place. */
import type { JobSpec } from '@congvu/database';

/** A hundred changes of one account ask for one convergence of its certificates. */
export const convergenceJob = (accountId: string): JobSpec => ({
  task: 'converge-certificates',
  payload: { accountIds: [accountId] },
  key: `certificates:${accountId}`,
});

/** One at a time for all the certificates that wait in `certificate.unpublished`. */
export const publishingJob = {
  task: 'publish-unpublished',
  payload: {},
  key: 'publish-unpublished',
  queue: 'publish',
} as const satisfies JobSpec;

/** A convergence as soon as a server-made key is ready: one account after the other, so that those that wait leave room for the rest. */
export const awaitKeyJob = (accountId: string): JobSpec => ({
  task: 'await-key',
  payload: { accountId },
  key: `server-key:${accountId}`,
  queue: 'server-keys',
});
