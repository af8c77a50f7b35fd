/**
 * docker-compose.yml against what it must agree with: the services' configuration schemas, the engines' templates, the
 * Dockerfile, the proxy's limits and the rules for a real host. Nothing is pulled or built here; what the entry program does is
 * tried on a real slapd.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseConfig } from '@congvu/http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { z } from 'zod';
import { configSchema as certificate } from '../../services/certificate/src/config.ts';
import { configSchema as directory } from '../../services/directory/src/config.ts';
import { configSchema as mailbox } from '../../services/mailbox/src/config.ts';
import { run } from '../local/process.ts';
import { openContainer } from './container.ts';
import { engines } from './engines.ts';

const root = resolve(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const composeText = read('docker-compose.yml');
const dockerfile = read('infra/docker/Dockerfile').replaceAll('\\\n', ' ');
const configSchemas = { directory, mailbox, certificate };

/** The parts of the Compose Specification that the file uses, and no others: a misspelt key is a fault. */
const strings = z.array(z.string());
const text = z.record(z.string(), z.string());
const hardened = {
  init: z.literal(true),
  read_only: z.literal(true),
  cap_drop: z.tuple([z.literal('ALL')]),
  security_opt: z.tuple([z.literal('no-new-privileges:true')]),
  logging: z.strictObject({ driver: z.literal('json-file'), options: text }),
};
const Duration = z.string().regex(/^\d+s$/);
const Size = z.string().regex(/^\d+[mg]$/);
const Service = z.strictObject({
  ...hardened,
  restart: z.enum(['unless-stopped', 'no']),
  build: z
    .strictObject({
      context: z.literal('.'),
      dockerfile: z.literal('infra/docker/Dockerfile'),
      target: z.string(),
      args: text.optional(),
    })
    .optional(),
  image: z.string(),
  pull_policy: z.literal('never').optional(),
  profiles: z.tuple([z.literal('set-up')]).optional(),
  user: z.string().optional(),
  hostname: z.string().optional(),
  cap_add: strings.optional(),
  environment: text.default({}),
  entrypoint: strings.optional(),
  command: strings.optional(),
  secrets: strings.default([]),
  configs: z.array(z.strictObject({ source: z.string(), target: z.string() })).default([]),
  network_mode: z.literal('none').optional(),
  networks: z
    .union([strings, z.record(z.string(), z.strictObject({ aliases: strings.optional() }))])
    .transform((networks) => (Array.isArray(networks) ? networks : Object.keys(networks)))
    .default([]),
  ports: z.array(z.string().regex(/^\d+:\d+$/)).default([]),
  volumes: z.array(z.string()).default([]),
  tmpfs: strings.optional(),
  shm_size: Size.optional(),
  ulimits: z.strictObject({ nofile: z.strictObject({ soft: z.int(), hard: z.int() }) }).optional(),
  stop_signal: z.enum(['SIGINT', 'SIGQUIT']).optional(),
  stop_grace_period: Duration.optional(),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_completed_successfully']) }))
    .default({}),
  healthcheck: z
    .strictObject({
      test: z.array(z.string()).min(2),
      interval: Duration,
      timeout: Duration,
      retries: z.int(),
      start_period: Duration,
      start_interval: Duration,
    })
    .optional(),
  deploy: z.strictObject({
    resources: z.strictObject({ limits: z.strictObject({ memory: Size, pids: z.int() }) }),
  }),
});
const FromFile = z.record(z.string(), z.strictObject({ file: z.string() }));
const Compose = z.strictObject({
  name: z.string(),
  'x-hardened': z.unknown(),
  'x-one-shot': z.unknown(),
  'x-service-health': z.unknown(),
  'x-tmpfs': z.unknown(),
  services: z.record(z.string(), Service),
  networks: z.record(z.string(), z.strictObject({ internal: z.boolean().default(false) })),
  volumes: z.record(z.string(), z.strictObject({})),
  configs: FromFile,
  secrets: FromFile,
});

/** Substitution as Compose does it, for the forms that the file uses, with the example's values. */
const example = Object.fromEntries(
  read('infra/docker/example.env')
    .split('\n')
    .filter((line) => /^[A-Z]/.test(line))
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
);
const substitute = (value: string): string =>
  value.replace(/\$\$|\$\{([A-Z_]+)(?::([?-])([^}]*))?\}/g, (whole, name: string, kind: string, rest: string) => {
    if (whole === '$$') return '$';
    const given = example[name];
    if (given) return given;
    if (kind === '-') return rest;
    throw new Error(`${whole} has no value in example.env`);
  });
const compose = Compose.parse(
  parse(composeText, (_key, value) => (typeof value === 'string' ? substitute(value) : value), { merge: true }),
);
const services = Object.entries(compose.services);
const service = (name: string): z.infer<typeof Service> => {
  const found = compose.services[name];
  if (!found) throw new Error(`there is no service ${name}`);
  return found;
};

let work: string;
let secretsDirectory: string;
/** What nobody can make at random: from the certificate authority and from the key ceremony. */
const handMade = ['tls.crt', 'tls-ca.crt', 'tls.key', 'authorities_passphrase'];
const handMadeToo = ['root.crt.pem', 'root.crl.pem'];

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'congvu-compose-'));
  secretsDirectory = join(work, 'secrets');
  await run('/bin/sh', [join(root, 'infra/docker/make-secrets.sh'), secretsDirectory]);
  const pem = (label: string) => `-----BEGIN ${label}-----\nMAA=\n-----END ${label}-----\n`;
  const labels: Record<string, string> = { crt: 'CERTIFICATE', crl: 'X509 CRL', key: 'ENCRYPTED PRIVATE KEY' };
  for (const file of [...handMade, ...handMadeToo]) {
    const label = Object.entries(labels).find(([part]) => file.includes(`.${part}`))?.[1];
    writeFileSync(join(secretsDirectory, file), label ? pem(label) : 'a passphrase of the ceremony\n');
  }
  const subject = ['-subj', '/CN=localhost', '-days', '2'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(work, 'tls.key')];
  await run('openssl', ['req', '-x509', ...key, ...subject, '-out', join(work, 'tls.crt')]);
  for (const file of ['tls.key', 'tls.crt'])
    writeFileSync(join(secretsDirectory, file), readFileSync(join(work, file)));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** A container's environment with the files where they lie here. A file that the service is not given is a fault. */
function environmentOf(name: string): Record<string, string> {
  const { environment, secrets, configs } = service(name);
  const place = (declared: Record<string, { file: string }>, source: string) =>
    join(secretsDirectory, basename(declared[source]?.file ?? 'undeclared'));
  const files = new Map([
    ...secrets.map((source) => [`/run/secrets/${source}`, place(compose.secrets, source)] as const),
    ...configs.map(({ source, target }) => [target, place(compose.configs, source)] as const),
  ]);
  return Object.fromEntries(
    Object.entries(environment).map(([key, value]) => {
      if (!key.endsWith('_FILE')) return [key, value];
      const file = files.get(value);
      if (!file) throw new Error(`${name}: ${key} names ${value}, which the container is not given`);
      return [key, file];
    }),
  );
}
const withoutFile = (key: string): string => key.replace(/_FILE$/, '');

describe.each(Object.entries(configSchemas))('the environment of the %s service', (name, schema) => {
  test('is what its configuration schema reads, whole and nothing else', () => {
    const given = Object.keys(service(name).environment).map(withoutFile);
    // The level of the log is known before there is a configuration to read.
    const main = read(`services/${name}/src/main.ts`);
    const byTheLibrary = ['GLIBC_TUNABLES']; // of C, which reads it before there is a program
    const isRead = (key: string) =>
      key in schema.shape || main.includes(`process.env.${key}`) || byTheLibrary.includes(key);
    expect(given.filter((key) => !isRead(key))).toEqual([]);
    const required = Object.entries(schema.shape).filter(([, part]) => !part.safeParse(undefined).success);
    expect(required.map(([key]) => key).filter((key) => !given.includes(key))).toEqual([]);
  });
  test('is accepted, with the secrets that make-secrets.sh makes', () => {
    expect(parseConfig(schema as z.ZodObject, environmentOf(name))).toMatchObject({ PORT: 8080 });
  });
  test('starts after the migrations', () => {
    expect(service(name).depends_on.migrate?.condition).toBe('service_completed_successfully');
  });
});

test('the example sets every name that the record keeps for ever', () => {
  const names = { AGENCY_LIST_NAME: 'tatca.{shortName}', PROVINCE_LIST_NAME: 'tatca' };
  expect(environmentOf('mailbox')).toMatchObject(names);
});

describe.each([...engines])('the engine %s', (name, engine) => {
  test('has every value of its templates from its environment, and no variable that none uses', () => {
    const given = environmentOf(name);
    const used = new Set<string>();
    const watched = new Proxy(given, {
      get(target, key: string) {
        if (key in target) used.add(key);
        return target[key];
      },
    });
    const config = join(work, name);
    const container = openContainer(watched, config, '/var/lib/congvu');
    const { command } = engine.configure(container);
    expect(command).toMatch(/^\//);
    const rendered = readdirSync(config, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    for (const file of rendered) {
      const content = readFileSync(join(file.parentPath, file.name), 'utf8');
      expect(content.replace(/^#.*$/gm, '')).not.toMatch(/\$\{[A-Z]/);
    }
    // The service identities' passwords are read when the database is prepared.
    const later =
      name === 'openldap' ? /^LDAP_[A-Z]+_PASSWORD_FILE$/ : name === 'postgres' ? /^POSTGRES_PASSWORD_FILE$/ : /^$/;
    expect(Object.keys(given).filter((key) => !used.has(key) && !later.test(key))).toEqual([]);
    // Every template of the folder is one that the entry program renders, or loads on first use.
    const names = rendered.map((file) => file.name);
    const known = [...names, 'roles.sql', 'tree.ldif', 'service.ldif'];
    expect(readdirSync(join(root, 'infra', name)).filter((file) => !known.includes(file))).toEqual([]);
  });
});

test('mail for postmaster and abuse goes to POSTMASTER_ADDRESS, or to the notices’ sender', () => {
  for (const [given, reader] of [
    ['', `thongbao@${example.MAIL_DOMAIN}`],
    ['hanh@example.org', 'hanh@example.org'],
  ] as const) {
    const config = join(work, 'postmaster');
    const environment = { ...environmentOf('postfix'), POSTMASTER_ADDRESS: given };
    engines.get('postfix')?.configure(openContainer(environment, config, '/var/lib/congvu'));
    const maps = /^virtual_alias_maps = .*$/m.exec(readFileSync(join(config, 'main.cf'), 'utf8'))?.[0];
    for (const name of ['postmaster', 'abuse']) expect(maps).toContain(`{${name}@${example.MAIL_DOMAIN} = ${reader}}`);
  }
});

describe('a real host', () => {
  test('publishes web, SMTP, submission, IMAPS and ManageSieve, each where the program listens, and nothing else', () => {
    const published = services.flatMap(([name, { ports }]) => ports.map((port) => `${name} ${port}`));
    const inside = (name: string, variable: string) => service(name).environment[variable];
    expect(published.sort()).toEqual(
      [
        `dovecot 993:${inside('dovecot', 'IMAPS_PORT')}`,
        `dovecot 4190:${inside('dovecot', 'SIEVE_PORT')}`,
        `postfix 25:${inside('postfix', 'SMTP_PORT')}`,
        `postfix 587:${inside('postfix', 'SUBMISSION_PORT')}`,
        `proxy 80:${inside('proxy', 'HTTP_PORT')}`,
        `proxy 443:${inside('proxy', 'HTTPS_PORT')}`,
      ].sort(),
    );
  });
  test('leaves everything that publishes no port on internal networks, and lets no two others meet outside', () => {
    const outside = new Set(Object.keys(compose.networks).filter((name) => !compose.networks[name]?.internal));
    for (const [name, { ports, networks }] of services) {
      expect([name, networks.filter((network) => outside.has(network)).length]).toEqual([
        name,
        ports.length > 0 ? 1 : 0,
      ]);
      for (const network of networks) expect(Object.keys(compose.networks)).toContain(network);
    }
    for (const network of outside) {
      expect(services.filter(([, { networks }]) => networks.includes(network))).toHaveLength(1);
    }
  });
  test('checks the health of everything that stays up, on the ports that are set', () => {
    for (const [name, { restart, healthcheck, environment }] of services) {
      expect([name, healthcheck !== undefined]).toEqual([name, restart === 'unless-stopped']);
      const asked = healthcheck?.test.join(' ').match(/(?<=127\.0\.0\.1:)\d+|\d+(?==)|(?<=-p )\d+/g) ?? [];
      if (healthcheck) expect(asked.length).toBeGreaterThan(0);
      expect(asked.filter((port) => !Object.values(environment).includes(port))).toEqual([]);
    }
  });
  test('gives capabilities to Postfix alone', () => {
    expect(services.filter(([, { cap_add }]) => cap_add).map(([name]) => name)).toEqual(['postfix']);
  });
  test('keeps data on volumes that are declared and written to by one', () => {
    const used = services.flatMap(([, { volumes }]) => volumes).filter((volume) => !volume.startsWith('.'));
    const written = used.filter((volume) => !volume.endsWith(':ro')).map((volume) => volume.split(':')[0] as string);
    expect(written.sort()).toEqual(Object.keys(compose.volumes).sort());
  });
  test("lets the mailbox service read the logs that Postfix and Dovecot write, and of others' volumes nothing else", () => {
    const shared = services.flatMap(([name, { volumes }]) =>
      volumes
        .filter((volume) => volume.endsWith(':ro') && !volume.startsWith('.'))
        .map((volume) => [name, ...volume.split(':')]),
    );
    const logs = ['postfix', 'dovecot'].map((name) => {
      const written = service(name).environment[`${name.toUpperCase()}_LOG`] as string;
      const read = service('mailbox').environment[`${name.toUpperCase()}_LOG`] as string;
      expect(service(name).volumes).toContain(`${name}-log:${dirname(written)}`);
      expect(basename(read)).toBe(basename(written));
      return ['mailbox', `${name}-log`, dirname(read), 'ro'];
    });
    expect(shared).toEqual(logs);
  });
  test('waits only for what exists and can answer', () => {
    for (const [, { depends_on }] of services) {
      for (const [name, { condition }] of Object.entries(depends_on)) {
        expect(service(name).healthcheck !== undefined).toBe(condition === 'service_healthy');
      }
    }
  });
  test('gets at the services by the names and ports that they have', async () => {
    const { environment } = service('proxy');
    for (const name of Object.keys(configSchemas)) {
      const upper = name.toUpperCase();
      expect(environment[`${upper}_UPSTREAM`]).toBe(`${name}:${service(name).environment.PORT}`);
      expect(environment[`${upper}_HOST`]).toBe(`${name}.${example.CONGVU_DOMAIN}`);
    }
    expect(service('directory').environment.ISSUER_URL).toBe(`https://${environment.DIRECTORY_HOST}`);
    expect(service('certificate').environment.PUBLIC_URL).toBe(`http://${environment.PKI_HOST}`);
    const { DOVEADM_URL = '', NOTICE_PORT, JWKS_URL = '' } = service('mailbox').environment;
    const doveadm = new URL(DOVEADM_URL);
    expect([doveadm.hostname, doveadm.port]).toEqual(['dovecot', service('dovecot').environment.DOVEADM_PORT]);
    expect(NOTICE_PORT).toBe(service('postfix').environment.SUBMISSION_PORT);
    // fetch refuses some ports before it connects (WHATWG Fetch, "bad port").
    for (const url of [DOVEADM_URL, JWKS_URL]) {
      const answer = fetch(`http://127.0.0.1:${new URL(url).port}/`, { signal: AbortSignal.timeout(1_000) });
      const refusal = await answer.then(
        () => '',
        (error: Error) => String((error.cause as Error | undefined)?.message),
      );
      expect([url, refusal]).not.toEqual([url, 'bad port']);
    }
  });
});

describe('secrets', () => {
  const secretName = /PASSWORD|PASSPHRASE|SECRET|_KEY$|API_KEY|DATABASE_URL/;
  test('come from files, never from the environment or this repository', () => {
    for (const [name, { environment }] of services) {
      for (const [key, value] of Object.entries(environment)) {
        if (!secretName.test(withoutFile(key))) continue;
        expect(`${name} ${key}`).toMatch(/_FILE$/);
        expect(value).toMatch(/^\/run\/secrets\//);
      }
    }
    expect(composeText).not.toMatch(/:\/\/[^/\s]+:[^/\s]+@|BEGIN [A-Z ]*KEY/);
    expect(read('infra/docker/example.env')).not.toMatch(
      /^(?!SECRETS_DIRECTORY=|KEY_POOL_SIZE=)[A-Z_]*(PASSWORD|SECRET|KEY)[A-Z_]*=./m,
    );
  });
  test('are all declared, all used, and all made by make-secrets.sh or by hand', () => {
    for (const [part, used] of [
      [compose.secrets, services.flatMap(([, { secrets }]) => secrets)],
      [compose.configs, services.flatMap(([, { configs }]) => configs.map(({ source }) => source))],
    ] as const) {
      expect([...new Set(used)].sort()).toEqual(Object.keys(part).sort());
    }
    const files = [...Object.values(compose.secrets), ...Object.values(compose.configs)].map(({ file }) =>
      basename(file),
    );
    expect(files.filter((file) => !existsSync(join(secretsDirectory, file)))).toEqual([]);
    const made = readdirSync(secretsDirectory).filter(
      (file) => !handMade.includes(file) && !handMadeToo.includes(file),
    );
    expect(made.filter((file) => !files.includes(file))).toEqual([]);
  });
});

describe('the Dockerfile', () => {
  const copies = [...dockerfile.matchAll(/^COPY (?!--from)(.+)$/gm)].map(([, line]) =>
    (line as string).trim().split(/\s+/),
  );
  const sources = copies.flatMap((copy) => copy.slice(0, -1));
  test('copies what exists and what .dockerignore lets through', () => {
    const names = Object.keys(configSchemas);
    const paths = sources.flatMap((path) =>
      path.includes('$') ? names.map((name) => path.replace(/\$\{SERVICE\}/, name)) : [path],
    );
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    const allowed = [...read('.dockerignore').matchAll(/^!(.+)$/gm)].map(([, path]) => path);
    expect(paths.filter((path) => !allowed.includes(path.split('/')[0] as string))).toEqual([]);
  });
  test('has a stage for every image that is built, and a build for every image that is run', () => {
    const stages = [...dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, stage]) => stage);
    const built = services.flatMap(([, { build, image }]) => (build ? [image] : []));
    for (const [, { build, image }] of services) {
      if (build) expect(stages).toContain(build.target);
      expect(built).toContain(image);
    }
  });
  test('puts every module that the entry program imports into the image', () => {
    const copied = new Set(sources.map((path) => join(root, path)));
    const seen = new Set<string>();
    const visit = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const [, from] of readFileSync(file, 'utf8').matchAll(/from '([^']+)'/g)) {
        if (from?.startsWith('.')) visit(resolve(dirname(file), from));
        else expect(from).toMatch(/^node:|^@congvu\/errors$/);
      }
    };
    for (const entry of ['entrypoint.ts', 'health.ts']) visit(join(import.meta.dirname, entry));
    // That of `migrate` has npm's packages besides; the modules of ours that it names are looked for alike.
    const migrate = join(import.meta.dirname, 'migrate.ts');
    for (const [, from] of readFileSync(migrate, 'utf8').matchAll(/^import .* from '(\.[^']+)'/gm))
      visit(resolve(dirname(migrate), from as string));
    const [, migrateStage = ''] = dockerfile.split('AS migrate');
    expect(migrateStage).toContain('COPY infra/local/password-hash.ts infra/local/');
    expect([...seen].filter((file) => !copied.has(file)).map((file) => relative(root, file))).toEqual([]);
  });
});

describe('the proxy', () => {
  const nginx = read('infra/proxy/nginx.conf');
  const bytes = (size: string): number =>
    Number.parseInt(size, 10) * (size.endsWith('m') ? 1024 ** 2 : size.endsWith('k') ? 1024 : 1);
  const product = (expression: string): number =>
    expression.split('*').reduce((all, factor) => all * Number(factor), 1);
  const routes = Object.keys(configSchemas).flatMap((name) =>
    readdirSync(join(root, 'services', name, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('routes.ts'))
      .flatMap((file) =>
        read(`services/${name}/src/${file}`)
          .split(/\broute\(\{/)
          .slice(1),
      )
      .map((source) => ({
        name,
        path: /path: ['`]([^'`]+)['`]/.exec(source)?.[1] ?? '',
        maxBodyBytes: /maxBodyBytes: ([\d *]+)/.exec(source)?.[1],
      })),
  );
  const locations = (config: string): string[] =>
    [...config.matchAll(/location (?:= )?(\/\S+) \{/g)].map(([, path]) => path as string);
  const servers = nginx.split(/^ {2}server \{/m);
  const serverOf = (variable: string): string =>
    servers.find((server) => new RegExp(`server_name \\$\\{${variable}\\};`).test(server)) ?? '';

  test('lets every route of every service through, and neither metrics nor readiness', () => {
    expect(routes.length).toBeGreaterThan(20);
    for (const { name, path } of routes) {
      const open = [...locations(read('infra/proxy/api.conf')), ...locations(serverOf(`${name.toUpperCase()}_HOST`))];
      const pki = name === 'certificate' ? ['/crl/', '/ca/'] : [];
      expect([path, [...open, ...pki].some((prefix) => path.startsWith(prefix))]).toEqual([path, true]);
      expect(open.filter((prefix) => /metrics|readyz|healthz/.test(prefix))).toEqual([]);
    }
  });
  test('has the services’ own limits for bodies', () => {
    // The largest of the defaults; those of public routes are smaller, and the services' own.
    const defaults = /maxBodyBytes \?\?(.*)/.exec(read('packages/http/src/route.ts'))?.[1] ?? '';
    const ordinary = Math.max(...[...defaults.matchAll(/\d[\d *]*/g)].map(([expression]) => product(expression)));
    expect(bytes(/^ {2}client_max_body_size (\w+);/m.exec(nginx)?.[1] ?? '')).toBe(ordinary);
    for (const { name, path, maxBodyBytes } of routes) {
      if (!maxBodyBytes || product(maxBodyBytes) <= ordinary) continue;
      const location = serverOf(`${name.toUpperCase()}_HOST`).split(`location = ${path} {`)[1] ?? '';
      expect([path, bytes(/client_max_body_size (\w+);/.exec(location)?.[1] ?? '0')]).toEqual([
        path,
        product(maxBodyBytes),
      ]);
    }
  });
});

describe('the entry program with a real slapd', () => {
  let port: number;
  let slapd: ChildProcess | undefined;
  const data = () => join(work, 'slapd-data');
  const baseDn = example.BASE_DN;

  async function start(): Promise<void> {
    const environment = { ...environmentOf('openldap'), LISTEN_ADDRESS: '127.0.0.1', LDAP_PORT: String(port) };
    mkdirSync(data(), { recursive: true });
    slapd = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'entrypoint.ts'), 'openldap'],
      {
        env: {
          PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
          CONGVU_CONFIG_DIRECTORY: join(work, 'slapd'),
          CONGVU_DATA_DIRECTORY: data(),
          ...environment,
        },
        stdio: 'ignore',
      },
    );
    for (let tries = 0; tries < 200 && slapd.exitCode === null; tries += 1) {
      if (
        await run('ldapwhoami', ['-x', '-H', `ldap://127.0.0.1:${port}`]).then(
          () => true,
          () => false,
        )
      )
        return;
      await sleep(50);
    }
    throw new Error(`slapd is not up (exit code ${slapd.exitCode})`);
  }
  async function stop(): Promise<void> {
    if (!slapd || slapd.exitCode !== null || slapd.signalCode !== null) return;
    const ended = once(slapd, 'exit');
    slapd.kill('SIGTERM'); // The entry program has become slapd: the signal is slapd's.
    await ended;
  }
  const search = (base: string): Promise<string> => {
    const password = join(secretsDirectory, 'ldap_reader_password');
    const bind = ['-x', '-LLL', '-D', `cn=reader,ou=services,${baseDn}`, '-y', password];
    return run('ldapsearch', [...bind, '-H', `ldap://127.0.0.1:${port}`, '-b', base, '-s', 'base', 'dn']);
  };

  beforeAll(async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as { port: number }).port;
    await new Promise((done) => server.close(done));
  });
  afterAll(stop);

  test('makes the tree on first use, keeps it, and takes over a changed password', async () => {
    await start();
    expect(await search(`ou=people,${baseDn}`)).toContain(`dn: ou=people,${baseDn}`);
    expect(existsSync(join(work, 'slapd/password'))).toBe(false);
    await stop();
    expect(slapd?.exitCode).toBe(0);

    const secret = join(secretsDirectory, 'ldap_reader_password');
    rmSync(secret);
    writeFileSync(secret, 'another-password-of-the-reader');
    await start();
    expect(await search(`ou=people,${baseDn}`)).toContain(`dn: ou=people,${baseDn}`);
    await stop();
  });

  test('adds the nodes that a tree of an older version lacks', async () => {
    const config = join(work, 'slapd/slapd.conf');
    const dump = ['-f', config, '-n', '1', '-o', 'ldif-wrap=no'];
    const now = (await run('/usr/sbin/slapcat', dump)).split('\n\n');
    const older = now.filter((entry) => !entry.startsWith(`dn: ou=domains,${baseDn}\n`));
    expect(older).toHaveLength(now.length - 1);
    for (const name of ['data.mdb', 'lock.mdb']) rmSync(join(data(), 'openldap', name));
    const file = join(work, 'older.ldif');
    writeFileSync(file, older.join('\n\n'));
    await run('/usr/sbin/slapadd', ['-q', '-f', config, '-l', file]);
    rmSync(join(data(), 'openldap-tree'));

    await start();
    expect(await search(`ou=domains,${baseDn}`)).toContain(`dn: ou=domains,${baseDn}`);
    await stop();
    expect((await run('/usr/sbin/slapcat', dump)).split('\n\n')).toHaveLength(now.length);
  });

  test('names the value that is missing, and not its content', async () => {
    const entry = join(import.meta.dirname, 'entrypoint.ts');
    const given: NodeJS.ProcessEnv = {
      ...environmentOf('openldap'),
      PATH: '/usr/sbin:/usr/bin:/bin',
      CONGVU_CONFIG_DIRECTORY: join(work, 'none'),
    };
    delete given.BASE_DN;
    const failure = run(process.execPath, ['--disable-warning=ExperimentalWarning', entry, 'openldap'], { env: given });
    await expect(failure).rejects.toThrow('BASE_DN is not set, nor BASE_DN_FILE');
  });
});
