import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { afterAll, describe, expect, test } from '@jest/globals';
import express from 'express';
import { pino } from 'pino';
import { z } from 'zod';
import { createLog, parseConfig, serve } from './service.ts';

const directory = mkdtempSync(join(tmpdir(), 'congvu-config-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string, content: string): string => {
  writeFileSync(join(directory, name), content);
  return join(directory, name);
};

describe('configuration', () => {
  const schema = z.object({
    PORT: z.coerce.number().int().min(1).max(65_535),
    HOST: z.string().default('127.0.0.1'),
    PASSWORD: z.string().min(12),
    KEY: z.string().regex(/^[0-9a-f]{8}$/, 'must be 4 octets in hexadecimal'),
    LEVEL: z.enum(['info', 'warn']).optional(),
  });
  const good = { PORT: '80', PASSWORD: 'long enough a secret', KEY: '0badcafe' };
  const faultsOf = (environment: NodeJS.ProcessEnv): string => {
    try {
      parseConfig(schema, environment);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };

  test('typed, with defaults, frozen, and nothing else from the environment', () => {
    const config = parseConfig(schema, { ...good, PATH: '/bin', OTHER: 'x' });
    expect(config).toEqual({ PORT: 80, HOST: '127.0.0.1', PASSWORD: good.PASSWORD, KEY: good.KEY });
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('every fault at once, by name, and never a value', () => {
    const said = faultsOf({ PORT: '99999', PASSWORD: 'hunter2', LEVEL: 'verbose' });
    expect(said.split('\n')).toHaveLength(5);
    for (const line of [/PORT: /, /PASSWORD: /, /KEY: is not set/, /LEVEL: /]) expect(said).toMatch(line);
    expect(said).not.toMatch(/hunter2|99999|verbose/);
  });

  test('an empty variable is one that is not set', () => {
    expect(faultsOf({ ...good, PASSWORD: '' })).toContain('PASSWORD: is not set');
    expect(parseConfig(schema, { ...good, HOST: '', LEVEL: '' })).toMatchObject({ HOST: '127.0.0.1' });
  });

  test('NAME_FILE names a file that holds the value; the last line end is not part of it', () => {
    const { PASSWORD: _, ...rest } = good;
    const PASSWORD_FILE = file('password', 'a secret from a file\n');
    expect(parseConfig(schema, { ...rest, PASSWORD_FILE }).PASSWORD).toBe('a secret from a file');
    expect(parseConfig(schema, { ...good, PASSWORD_FILE }).PASSWORD).toBe(good.PASSWORD);
    expect(faultsOf({ ...rest, PASSWORD_FILE: file('short', 'x') })).toMatch(/PASSWORD: /);
    const absent = faultsOf({ ...rest, PASSWORD_FILE: join(directory, 'absent') });
    expect(absent.split('\n')).toEqual([expect.any(String), '  PASSWORD_FILE: the file that it names cannot be read']);
  });
});

describe('the log', () => {
  const lines = (write: (log: pino.Logger) => void): string => {
    const written: string[] = [];
    write(createLog('test', 'debug', { write: (line) => void written.push(line) }));
    return written.join('');
  };
  const secrets = {
    password: 'S1',
    passphrase: 'S2',
    secret: 'S3',
    clientSecret: 'S4',
    activationCode: 'S5',
    nationalId: 'S6',
    csr: 'S7',
    privateKey: 'S8',
    token: 'S9',
    accessToken: 'S10',
    authorization: 'S11',
    pkcs12: 'S12',
  };

  test('fields with the names of secrets are left out, up to three deep and in lists', () => {
    const written = lines((log) => {
      log.info(secrets, 'flat');
      log.info({ body: secrets, headers: { authorization: 'S20' } }, 'nested');
      log.info({ request: { body: secrets }, people: [secrets] }, 'deeper');
      log.child({ token: 'S30' }).warn('in a child');
    });
    expect(written).not.toMatch(/"S\d+"/);
    expect(written.match(/\[redacted\]/g)).toHaveLength(12 * 4 + 2);
  });

  const row = 'Failing row contains (040190123456, Huỳnh Thanh Điền).';
  const broken = () =>
    Object.assign(new Error('violates'), { severity: 'ERROR', code: '23514', detail: row, table: 'people' });
  test('a database error is described without its row, wherever it hangs', () => {
    const written = lines((log) => {
      log.error({ err: broken() }, 'direct');
      log.error({ err: new ServiceError({ kind: 'unavailable', code: 'x', detail: 'x', cause: broken() }) }, 'cause');
      log.error({ err: new Error('outer', { cause: new Error('middle', { cause: broken() }) }) }, 'deeper');
      log.error({ err: new AggregateError([broken(), broken()], 'several') }, 'several');
      log.error({ err: Object.assign(new Error('holds it'), { inner: broken() }) }, 'as a property');
      log.error(broken(), 'bare');
    });
    expect(written).toContain('"table":"people"');
    expect(written).not.toMatch(/040190123456|Huỳnh/);
  });

  test('our own errors keep their detail', () => {
    const detail = 'The certificate is revoked already.';
    const written = lines((log) => log.warn({ err: new ServiceError({ kind: 'conflict', code: 'x', detail }) }, 'x'));
    expect(JSON.parse(written).err).toMatchObject({ detail, kind: 'conflict', code: 'x' });
  });
});

describe('a process', () => {
  const silent = pino({ level: 'silent' });

  test('stopping finishes the running request, takes no other, and only then lets go', async () => {
    const app = express();
    const order: string[] = [];
    app.get('/slow', async (_request, response) => {
      await sleep(400);
      order.push('answered');
      response.send('whole');
    });
    const release = async () => void order.push('released');
    const { server, stop } = await serve(app, { host: '127.0.0.1', port: 0, log: silent, release });
    const { port } = server.address() as AddressInfo;
    const agent = new Agent({ keepAlive: true });
    const body = new Promise<string>((resolve, reject) => {
      get({ port, path: '/slow', agent }, (response) => {
        response.setEncoding('utf8').on('data', resolve);
      }).on('error', reject);
    });
    await sleep(100);
    const began = Date.now();
    const stopped = Promise.all([stop(), stop()]);
    await expect(fetch(`http://127.0.0.1:${port}/slow`)).rejects.toThrow();
    expect(await body).toBe('whole');
    await stopped;
    expect(order).toEqual(['answered', 'released']);
    // A client that keeps its connection does not keep the process.
    expect(Date.now() - began).toBeLessThan(3_000);
    agent.destroy();
  });

  test('a port that is taken is an error and not a process that waits', async () => {
    const options = { host: '127.0.0.1', log: silent, release: async () => undefined };
    const first = await serve(express(), { ...options, port: 0 });
    const { port } = first.server.address() as AddressInfo;
    await expect(serve(express(), { ...options, port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await first.stop();
  });
});

describe('requests that come far apart, with garbage collected between them', () => {
  /** How many of the requests and responses of a server of its own, in a process of its own, V8 keeps as dictionaries. */
  const dictionaries = (startServer: string): number => {
    const program = `
      import { createServer, get } from 'node:http';
      import { serve } from '${import.meta.dirname}/service.ts';
      let count = 0;
      const answer = (request, response) => {
        for (const one of [request, response]) if (!%HasFastProperties(one)) count += 1;
        response.end();
      };
      const server = await (${startServer})(answer);
      const { port } = server.address();
      for (let number = 0; number < 30; number += 1) {
        await new Promise((done) => get({ host: '127.0.0.1', port, agent: false }, (body) => body.resume().on('end', done)));
        for (let round = 0; round < 4; round += 1) gc();
      }
      process.stdout.write(String(count), () => process.exit());`;
    const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc', '--allow-natives-syntax'];
    const { stdout, stderr } = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program]);
    if (!/^\d+$/.test(stdout.toString())) throw new Error(stderr.toString());
    return Number(stdout);
  };

  test('do not make those slow that follow', () => {
    const log = '{ info() {}, error() {} }';
    expect(
      dictionaries(
        `async (app) => (await serve(app, { host: '127.0.0.1', port: 0, log: ${log}, release() {} })).server`,
      ),
    ).toBe(0);
    // They would; where V8 no longer does this, nothing needs to be done against it.
    expect(
      dictionaries(
        `(app) => new Promise((done) => { const one = createServer(app).listen(0, '127.0.0.1', () => done(one)); })`,
      ),
    ).toBeGreaterThan(0);
  });
});
