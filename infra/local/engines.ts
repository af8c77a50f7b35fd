/**
 * The four engines as one: started side by side where they can be, on ports that are free, and stopped in order with nothing
 * left behind, also when starting fails half-way.
 */
import { type Dovecot, startDovecot } from './dovecot.ts';
import { type OpenLdap, startOpenLdap } from './openldap.ts';
import { type Postfix, startPostfix } from './postfix.ts';
import { type Postgres, startPostgres } from './postgres.ts';
import { assertPortsFree, openState, type State } from './state.ts';

export interface EnginesOptions {
  /** `<somewhere>/.congvu/<name>`. */
  stateDirectory: string;
  /** All ports are counted from here; see `portsFrom`. */
  portBase: number;
  /** The one mail domain, e.g. `nghean.gov.vn`. */
  domain: string;
  /** Suffix of the directory tree, e.g. `dc=nghean,dc=gov,dc=vn`. */
  baseDn: string;
  log: (line: string) => void;
  /** Whether to run Postfix, which needs root; unless said, it runs when we are root. */
  postfix?: boolean;
}

export interface Engines {
  readonly postgres: Postgres;
  readonly openldap: OpenLdap;
  readonly dovecot: Dovecot;
  /** Undefined without root. */
  readonly postfix: Postfix | undefined;
  readonly ports: Ports;
  readonly domain: string;
  readonly baseDn: string;
  /** Real path of the state directory (below /var/lib/congvu where the clone is closed to others). */
  readonly stateDirectory: string;
  readonly state: State;
  /** The stack's certificate (PEM file): what clients of LDAP, IMAP and SMTP trust. */
  readonly certificateFile: string;
  /** A secret by name, made on first asking: `postgres/<role>`, `ldap/<service>`, `doveadm/api-key`, `mail/notifier`, or one's own. */
  secret(name: string): string;
  /** Ends Postfix, Dovecot, OpenLDAP, PostgreSQL in this order and lets go of the state. May be called twice. */
  stop(): Promise<void>;
}

export type Ports = ReturnType<typeof portsFrom>;

/** Every port of a stack. The first four belong to the services, which listen there themselves. */
export function portsFrom(base: number) {
  return {
    directory: base + 1,
    mailbox: base + 2,
    certificate: base + 3,
    /** Where the mailbox service tells Postfix who may write to a list. */
    posting: base + 4,
    auth: base + 12,
    quotaStatus: base + 13,
    replies: base + 26,
    lmtp: base + 24,
    smtp: base + 25,
    postgres: base + 32,
    imap: base + 43,
    doveadm: base + 80,
    submission: base + 87,
    ldap: base + 89,
    sieve: base + 90,
    imaps: base + 93,
  };
}

/** Starts all engines. @throws ServiceError that names the engine or port at fault; nothing runs then. */
export async function startEngines(options: EnginesOptions): Promise<Engines> {
  const { domain, baseDn, log } = options;
  const ports = portsFrom(options.portBase);
  const withPostfix = options.postfix ?? process.getuid?.() === 0;
  const state = openState(options.stateDirectory);
  // In the order in which they may end: mail first stops arriving, then being read; what both ask goes last.
  const running: { stop(): Promise<void> }[] = [];
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= stopAll(running, state);
    return stopped;
  };

  try {
    await assertPortsFree(named(ports, withPostfix), state.recovered ? 15_000 : 0);
    const timed = async <T extends { stop(): Promise<void> }>(name: string, rank: number, starting: Promise<T>) => {
      const began = Date.now();
      const engine = await starting;
      running[rank] = engine;
      log(`${name} is up (${((Date.now() - began) / 1000).toFixed(1)} s)`);
      return engine;
    };
    await state.certificate(domain); // Made once, before all ask for it.
    const shared = { state, baseDn, domain, log };
    const ldapUrl = `ldap://127.0.0.1:${ports.ldap}`;
    // Dovecot connects to the directory as it starts; Postfix when it is first asked something.
    const openldapUp = timed('OpenLDAP', 2, startOpenLdap({ ...shared, port: ports.ldap }));
    const dovecotUp = openldapUp.then(() => timed('Dovecot', 1, startDovecot({ ...shared, ports, ldapUrl })));
    const outcomes = await Promise.allSettled([
      timed('PostgreSQL', 3, startPostgres(state, ports.postgres, log)),
      openldapUp,
      dovecotUp,
      withPostfix ? timed('Postfix', 0, startPostfix({ ...shared, ports, ldapUrl })) : undefined,
    ]);
    const [postgres, openldap, dovecot, postfix] = outcomes;
    if (
      postgres.status === 'rejected' ||
      openldap.status === 'rejected' ||
      dovecot.status === 'rejected' ||
      postfix.status === 'rejected'
    ) {
      throw outcomes.find((outcome) => outcome.status === 'rejected')?.reason;
    }
    return {
      postgres: postgres.value,
      openldap: openldap.value,
      dovecot: dovecot.value,
      postfix: postfix.value,
      ports,
      domain,
      baseDn,
      stateDirectory: state.directory,
      state,
      certificateFile: dovecot.value.certificateFile,
      secret: state.secret,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function stopAll(running: readonly ({ stop(): Promise<void> } | undefined)[], state: State): Promise<void> {
  try {
    for (const engine of running) await engine?.stop();
  } finally {
    state.close();
  }
}

function named(ports: Ports, withPostfix: boolean): Record<string, number> {
  const mail = withPostfix ? { SMTP: ports.smtp, submission: ports.submission, 'replies of Sieve': ports.replies } : {};
  return {
    'the directory service': ports.directory,
    'the mailbox service': ports.mailbox,
    'the certificate service': ports.certificate,
    'who may write to lists': ports.posting,
    PostgreSQL: ports.postgres,
    OpenLDAP: ports.ldap,
    IMAP: ports.imap,
    IMAPS: ports.imaps,
    LMTP: ports.lmtp,
    ManageSieve: ports.sieve,
    'doveadm HTTP': ports.doveadm,
    "Dovecot's authentication": ports.auth,
    "Dovecot's quota status": ports.quotaStatus,
    ...mail,
  };
}
