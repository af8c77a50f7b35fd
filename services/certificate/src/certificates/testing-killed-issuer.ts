/** A process that issues a batch and is killed in the middle of it, as its test tells it: `{ url, config, enrolmentIds, dieAt, pauseMs }` on standard input. */
import { generateKeyPairSync, hash } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase } from '@congvu/database';
import { authoritiesOf, openAuthorities } from '../authorities/authorities.ts';
import { openEndSpread } from '../expiry/spread-ends.ts';
import { certificateSystem } from './certificate-event.ts';
import { openIssuing } from './issue-certificate.ts';

const { url, config, enrolmentIds, dieAt, pauseMs } = JSON.parse(readFileSync(0, 'utf8'));
const database = openDatabase({ url, name: 'killed' });
const opened = await openAuthorities(database, config);
let signed = 0;
const watched = opened.all.map((authority) => ({
  ...authority,
  issuer: {
    ...authority.issuer,
    sign: async (tbs: Buffer): Promise<Buffer> => {
      const signature = await authority.issuer.sign(tbs);
      writeSync(1, `${tbs.toString('hex')}\n`);
      signed += 1;
      if (signed === dieAt) process.kill(process.pid, 'SIGKILL');
      if (pauseMs) await sleep(pauseMs);
      return signature;
    },
  },
}));
const issue = openIssuing({
  database,
  authorities: authoritiesOf(opened.root, watched, opened.profiles),
  organizationIdentifier: config.ORGANIZATION_IDENTIFIER,
  spreadEnds: openEndSpread(),
});
await Promise.all(
  enrolmentIds.map((enrolmentId: string) => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const subjectPublicKeyInfo = publicKey.export({ type: 'spki', format: 'der' });
    const fingerprint = hash('sha256', subjectPublicKeyInfo, 'hex');
    const csr = { subjectPublicKeyInfo, keyKind: 'ec-p256' as const, fingerprint, scope: { agencyCode: 'H41' } };
    return issue({ enrolmentId, actor: certificateSystem, csr });
  }),
);
