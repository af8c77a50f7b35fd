/**
 * The whole platform on this machine: engines, services, and the clients with which it is tried. `.congvu/stack.json`
 * tells programs and people where everything is; only its owner may read it.
 */
import { rename, writeFile } from 'node:fs/promises';
import { connectApi, type Role, roles, type ServiceUrls } from '@congvu/contracts';
import { openDatabase } from '@congvu/database';
import { setUpClient } from '@congvu/directory/set-up-client';
import { type Engines, startEngines } from './engines.ts';
import { type CertificateOptions, type Services, startServices } from './services.ts';

export const domain = 'nghean.gov.vn';
export const baseDn = 'dc=nghean,dc=gov,dc=vn';

export interface ClientCredentials {
  clientId: string;
  clientSecret: string;
}

/** What stack.json holds. */
export interface StackDescription {
  services: ServiceUrls;
  clients: Record<'requester' | 'administrator' | 'auditor', ClientCredentials & { agencyCode: string }>;
  ldap: { url: string; baseDn: string; bindDn: string; password: string };
  smtp: { host: string; port: number; submissionPort: number } | null;
  imap: { host: string; port: number; tlsPort: number };
  lmtp: { host: string; port: number };
  tlsCertificateFile: string;
  rootCertificateFile: string;
}

export interface Stack {
  engines: Engines;
  services: Services;
  description: StackDescription;
  stop(): Promise<void>;
}

export interface StackOptions extends CertificateOptions {
  /** `<somewhere>/.congvu/<name>`; `<name>.json`, the description, is written beside it. */
  stateDirectory: string;
  portBase: number;
  log: (line: string) => void;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const engines = await startEngines({ ...options, domain, baseDn });
  try {
    const services = await startServices(engines, options.log, options);
    const description = await describe(engines, services);
    await writeDescription(`${options.stateDirectory}.json`, description);
    let stopped: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopped ??= services.stop().finally(() => engines.stop());
      return stopped;
    };
    return { engines, services, description, stop };
  } catch (error) {
    await engines.stop();
    throw error;
  }
}

/** As a whole or not at all, and for its owner's eyes alone. */
async function writeDescription(file: string, description: StackDescription): Promise<void> {
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify(description, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, file);
}

async function describe(engines: Engines, services: Services): Promise<StackDescription> {
  const { ports, openldap, postfix } = engines;
  const reader = openldap.credentials('reader');
  return {
    services: services.urls,
    clients: {
      requester: await demoClient(engines, 'Huyện Quỳnh Lưu (demo requester)', 'H41.32', 'requester'),
      administrator: await demoClient(engines, 'Quản trị CNTT tỉnh (demo IT admin)', 'H41', 'platform_administrator'),
      auditor: await demoClient(engines, 'Kiểm toán (demo auditor)', 'H41', 'auditor'),
    },
    ldap: { url: openldap.url, baseDn, bindDn: reader.dn, password: reader.password },
    smtp: postfix ? { host: '127.0.0.1', port: ports.smtp, submissionPort: ports.submission } : null,
    imap: { host: '127.0.0.1', port: ports.imap, tlsPort: ports.imaps },
    lmtp: { host: '127.0.0.1', port: ports.lmtp },
    tlsCertificateFile: engines.certificateFile,
    rootCertificateFile: services.rootCertificateFile,
  };
}

async function demoClient(engines: Engines, name: string, agencyCode: string, role: Role) {
  const clientSecret = engines.secret(`client/${name}`);
  const database = openDatabase({ url: engines.postgres.url('congvu_directory'), name: 'set-up-client', poolSize: 1 });
  try {
    return {
      clientId: await setUpClient(database, { name, agencyCode, role, permissions: roles[role], secret: clientSecret }),
      clientSecret,
      agencyCode,
    };
  } finally {
    await database.destroy();
  }
}

/** The demo clients, ready to call. */
export const connectClients = ({ services, clients }: StackDescription) => ({
  requester: connectApi(services, clients.requester),
  administrator: connectApi(services, clients.administrator),
  auditor: connectApi(services, clients.auditor),
  stranger: connectApi(services, undefined),
});
