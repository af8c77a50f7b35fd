/** A hundred revocations at once ask for one new CRL. */
import type { JobSpec } from '@congvu/database';

export const crlJob = (authorityId: string): JobSpec => ({
  task: 'publish-crl',
  payload: { authorityId, force: true },
  key: `crl:${authorityId}`,
});
