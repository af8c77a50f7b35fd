/** A hundred changes of one account ask for one convergence of its certificates. */
import type { JobSpec } from '@congvu/database';

export const convergenceJob = (accountId: string): JobSpec => ({
  task: 'converge-certificates',
  payload: { accountIds: [accountId] },
  key: `certificates:${accountId}`,
});
