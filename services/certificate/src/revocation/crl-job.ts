/** A hundred revocations at once ask for one new list. */
import type { JobSpec } from '@congvu/database';

export const crlJob = (certificate: { authority_id: string; crl_partition: number }): JobSpec => ({
  task: 'publish-crl',
  payload: { authorityId: certificate.authority_id, partition: certificate.crl_partition },
  key: `crl:${certificate.authority_id}:${certificate.crl_partition}`,
});
