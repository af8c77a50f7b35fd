/**
 * For tests that look at the whole of LDAP: an OpenLDAP of the test's own, on the platform's own configuration, with a root DN that can be
 * bound as, by which the tests change things by hand.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { type OpenLdap, startOpenLdap } from '../../../infra/local/openldap.ts';
import { openState, removeState, repository } from '../../../infra/local/state.ts';

export interface TestOpenLdap {
  server: OpenLdap;
  url: string;
  baseDn: string;
  identities: Record<string, { bindDn: string; password: string }>;
  stop: () => Promise<void>;
}

export async function startTestOpenLdap(): Promise<TestOpenLdap> {
  const directory = join(repository, `.congvu/test-openldap-${randomBytes(4).toString('hex')}`);
  const state = openState(directory);
  const rootPassword = state.secret('root');
  const baseDn = 'dc=nghean,dc=gov,dc=vn';
  const server = await startOpenLdap({
    state,
    port: await freePort(),
    baseDn,
    domain: 'nghean.gov.vn',
    log: () => undefined,
    rootPassword,
  });
  const as = (service: 'directory' | 'mailbox' | 'certificate') => {
    const { dn, password } = server.credentials(service);
    return { bindDn: dn, password };
  };
  return {
    server,
    url: server.url,
    baseDn,
    identities: {
      directory: as('directory'),
      mailbox: as('mailbox'),
      certificate: as('certificate'),
      root: { bindDn: server.rootDn, password: rootPassword },
    },
    stop: async () => {
      await server.stop();
      state.close();
      removeState(directory);
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
