/**
 * `ocsp-openssl`, `ocsp-cfssl`, `ocsp-http`, `ocsp-million`: OCSP answers a second over kept-alive connections, asked for by wrk, of certificates
 * that are drawn evenly from all there are; one in a hundred is revoked. The rivals are asked the very same things in the same run, by
 * turns, and of each the best turn counts. openssl signs each answer with a key of the same kind as ours; cfssl is given our answers,
 * signed already; the bare server returns one of them whatever it is asked. In ours every answer follows a read of the record.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readCertificate, toPem } from '@congvu/certificate/certificate';
import { buildOcspRequest, certificateIdOf, issuerIds } from '@congvu/certificate/ocsp';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { ensurePackages } from './packages.ts';
import { run, type SupervisedProcess, superviseProcess } from './process.ts';
import { startStack } from './stack.ts';
import { removeState } from './state.ts';

const connections = 32;
/** Each of openssl's two processes serves one connection until that ends, and lets all others wait. */
const opensslConnections = 2;
const seconds = 5;
const turns = 3;
/** Odd, for the one in the middle. */
const millionTurns = 13;
/** Those that wrk asks about, drawn from all. */
const sampleSize = 20_000;
const unit = 'answers/s';

interface Ground {
  options: BenchOptions;
  owner: pg.Client;
  authority: { id: string; certificate: Buffer };
  url: string;
  file: (name: string, content: string) => string;
}

async function onGround(options: BenchOptions, measure: (ground: Ground) => Promise<Figure>): Promise<Figure> {
  const { stack, stateDirectory, say } = options;
  await ensurePackages(say, ['wrk', 'golang-cfssl']);
  const owner = new pg.Client({ connectionString: stack.engines.postgres.url('congvu_owner') });
  await owner.connect();
  try {
    const { rows } = await owner.query(
      "select id, certificate from certificate.authorities where 'signature' = any (purposes) and state = 'active'",
    );
    const file = (name: string, content: string): string => {
      const path = join(stateDirectory, name);
      writeFileSync(path, content);
      return path;
    };
    return await measure({ options, owner, authority: rows[0], url: `${stack.services.urls.certificate}/ocsp`, file });
  } finally {
    await owner.end();
  }
}

export const measureOcspOpenssl = (options: BenchOptions): Promise<Figure> =>
  onGround(options, async (ground) => {
    const { owner, authority, file, url } = ground;
    await fill(ground, options.size);
    const { rows } = await owner.query<{ serial: string; revoked: boolean }>(
      "select encode(serial_number, 'hex') as serial, state = 'revoked' as revoked from certificate.certificates",
    );
    const index = rows.map(
      ({ serial, revoked }) =>
        `${revoked ? 'R' : 'V'}\t491231235959Z\t${revoked ? '260101000000Z' : ''}\t${serial.toUpperCase()}\tunknown\t/CN=${serial}\n`,
    );
    const key = file('ocsp.key.pem', '');
    const certificate = file('ocsp.crt.pem', '');
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30'],
      ...['-subj', '/CN=OCSP', '-addext', 'extendedKeyUsage=OCSPSigning', '-keyout', key, '-out', certificate],
    ]);
    await others(ground);
    const port = options.portBase + 70;
    const args = [
      ...['ocsp', '-index', file('index.txt', index.join('')), '-multi', '2', '-port', String(port), '-nmin', '720'],
      ...['-CA', file('ca.pem', toPem('CERTIFICATE', authority.certificate)), '-rsigner', certificate, '-rkey', key],
    ];
    const rival = () => startRival(ground, port, 'openssl', args);
    return beside(ground, 'openssl ocsp -multi 2', rival, url, `http://127.0.0.1:${port}`, {
      rivalConnections: opensslConnections,
    });
  });

export const measureOcspCfssl = (options: BenchOptions): Promise<Figure> =>
  onGround(options, async (ground) => {
    await fill(ground, options.size);
    const answers: string[] = [];
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    const { rows } = await ground.owner.query<{ serial_number: Buffer }>(
      'select serial_number from certificate.certificates',
    );
    for (const one of rows)
      answers.push((await fetchBytes(ground.url + pathOf(ground, one.serial_number), agent)).toString('base64'));
    agent.destroy();
    const port = options.portBase + 70;
    const responses = ground.file('responses.txt', `${answers.join('\n')}\n`);
    const args = [
      ...['ocspserve', '-address', '127.0.0.1', '-port', String(port), '-responses', responses, '-loglevel', '4'],
    ];
    const rival = () => startRival(ground, port, 'cfssl', args);
    // By POST: to GET cfssl answers 400 wherever there is a plus in the base64.
    return beside(ground, 'cfssl ocspserve', rival, ground.url, `http://127.0.0.1:${port}/`, { method: 'POST' });
  });

const floorSize = 1_000;

export const measureOcspHttp = (options: BenchOptions): Promise<Figure> =>
  onGround(options, async (ground) => {
    await besideBareServer(ground, floorSize);
    const figure = await besideBareServer(ground, options.size);
    await others(ground);
    return figure;
  });

/**
 * As many as `size` beside 1,000, each in a stack of its own, both up in the same minutes and asked by short turns: what the machine's
 * speed does from one minute to the next is more than what is measured. The median of each counts, not the best.
 */
export const measureOcspMillion = (options: BenchOptions): Promise<Figure> =>
  onGround(options, async (many) => {
    const { size, say } = options;
    const beside = { portBase: options.portBase + 100, stateDirectory: `${options.stateDirectory}-beside` };
    removeState(beside.stateDirectory);
    const stack = await startStack({ ...beside, log: () => undefined });
    try {
      return await onGround({ ...options, ...beside, stack }, async (few) => {
        const sides = [
          { ground: few, size: floorSize, paths: [] as string[], rates: [] as number[] },
          { ground: many, size, paths: [] as string[], rates: [] as number[] },
        ];
        for (const side of sides) {
          await fill(side.ground, side.size);
          side.paths = await somePaths(side.ground);
        }
        for (let turn = 1 - turns; turn <= millionTurns; turn += 1) {
          for (const { ground, paths, rates } of turn % 2 === 0 ? sides : sides.toReversed()) {
            const rate = await ask(ground, ground.url, paths);
            if (turn > 0) rates.push(rate); // until then they compile what they do
          }
        }
        for (const { size, rates } of sides)
          say(`  ${size}: ${rates.map((rate) => rate.toFixed(0)).join(' ')} ${unit}`);
        const [floorValue, value] = sides.map(({ rates }) => median(rates)) as [number, number];
        return { value, unit, floor: `${floorSize} certificates`, floorValue, ratio: value / floorValue };
      });
    } finally {
      await stack.stop();
    }
  });

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

async function besideBareServer(ground: Ground, size: number): Promise<Figure> {
  const { options, owner, url } = ground;
  await fill(ground, size);
  const port = options.portBase + 70;
  const bare = async (): Promise<SupervisedProcess> => {
    const { rows } = await owner.query('select serial_number from certificate.certificates limit 1');
    const body = (await fetchBytes(url + pathOf(ground, rows[0].serial_number))).toString('base64');
    return startRival(ground, port, process.execPath, [
      '-e',
      `const body = Buffer.from('${body}', 'base64');
       const headers = ['Content-Type', 'application/ocsp-response', 'Content-Length', String(body.length), 'Cache-Control',
         'max-age=60, public, no-transform, must-revalidate', 'ETag', '"${'0'.repeat(40)}"', 'Last-Modified', new Date().toUTCString()];
       require('node:http').createServer({ keepAliveTimeout: 5_000 }, (request, response) => {
         response.writeHead(200, headers).end(body);
       }).listen(${port}, '127.0.0.1');`,
    ]);
  };
  // Of the first turns a service that has just started compiles what it does.
  const figure = await beside(ground, 'bare node:http', bare, url, `http://127.0.0.1:${port}/ocsp`, {
    turns: 2 * turns,
  });
  options.say(
    `  of ${size} certificates: ${figure.value.toFixed(0)} ${unit}, ${figure.ratio.toFixed(2)} of the bare server`,
  );
  return figure;
}

const somePaths = async (ground: Ground, nonce?: Buffer): Promise<string[]> => {
  const { rows } = await ground.owner.query<{ serial_number: Buffer }>(
    'select serial_number from certificate.certificates order by random() limit $1',
    [sampleSize],
  );
  // As many to go through whatever there is to draw from, so that the asking costs the same.
  const drawn = rows.map(({ serial_number }) => pathOf(ground, serial_number, nonce));
  return Array.from({ length: sampleSize }, (_, index) => drawn[index % drawn.length] as string);
};

/** Brings the record to `size` certificates, and waits until their answers are ready. */
async function fill({ options, owner, authority }: Ground, size: number): Promise<void> {
  const { stack, say } = options;
  const { rows } = await owner.query('select count(*)::int as count from certificate.certificates');
  const missing = size - rows[0].count;
  say(`  ${size} certificates …`);
  await owner.query(
    `with enrolment as (
       insert into certificate.enrolments (account_id, profile, path, state)
       select gen_random_uuid(), 'person-signature', 'csr', 'issued' from generate_series(1, $2::int) returning id, account_id)
     insert into certificate.certificates (authority_id, serial_number, enrolment_id, account_id, agency_id, address, profile,
       key_kind, state, certificate, fingerprint_sha256, not_before, not_after, issued_at, revoked_at, revocation_reason)
     select $1, '\\x41'::bytea || substring(uuid_send(id) from 2), id, account_id, gen_random_uuid(), id || '@nghean.gov.vn',
       'person-signature', 'rsa-2048', case when is_revoked then 'revoked' else 'valid' end, '\\x30',
       sha256(uuid_send(id)), now() - interval '1 day', now() + interval '700 days', now(),
       case when is_revoked then now() end, case when is_revoked then 'superseded' end
     from (select id, account_id, get_byte(uuid_send(id), 15) % 100 = 0 as is_revoked from enrolment) one`,
    [authority.id, Math.max(0, missing)],
  );
  // What a fill leaves to be done later shall not be done while it is measured.
  await owner.query('vacuum analyze certificate.enrolments, certificate.certificates');
  await stack.engines.postgres.checkpoint();
  const service = stack.services.processes.certificate;
  await service.stop();
  await service.start();
  const began = Date.now();
  for (let ready = 0; ready < size * 0.98; await sleep(500)) {
    const metrics = (await fetchBytes(`${stack.services.urls.certificate}/metrics`)).toString();
    ready = Number(/^ocsp_prepared_answers (\d+)/m.exec(metrics)?.[1] ?? 0);
    if (Date.now() - began > 1_200_000) throw new Error('the answers were not ready after 20 minutes');
  }
  say(`  their answers were ready after ${((Date.now() - began) / 1_000).toFixed(0)} s`);
}

const pathOf = ({ authority }: Ground, serialNumber: Buffer, nonce?: Buffer): string => {
  const [usual] = issuerIds(readCertificate(authority.certificate));
  const request = buildOcspRequest(certificateIdOf(usual as Buffer, serialNumber), nonce);
  return `/${encodeURIComponent(request.toString('base64'))}`;
};

/** One and the other by turns, each at its best. */
async function beside(
  ground: Ground,
  floor: string,
  rival: () => Promise<SupervisedProcess>,
  url: string,
  rivalUrl: string,
  how: { method?: 'GET' | 'POST'; rivalConnections?: number; turns?: number } = {},
): Promise<Figure> {
  const { say } = ground.options;
  const paths = await somePaths(ground);
  const method = how.method ?? 'GET';
  let value = 0;
  let floorValue = 0;
  for (let turn = 0; turn < (how.turns ?? turns); turn += 1) {
    const ours = await ask(ground, url, paths, { method });
    // Anew for each turn: openssl's processes do not outlive a client that leaves without a word.
    const running = await rival();
    try {
      const theirs = await ask(ground, rivalUrl, paths, { method, connections: how.rivalConnections });
      say(`  turn ${turn + 1}: ${ours.toFixed(0)} ${unit}; ${floor}: ${theirs.toFixed(0)}`);
      value = Math.max(value, ours);
      floorValue = Math.max(floorValue, theirs);
    } finally {
      await running.stop();
    }
  }
  return { value, unit, floor, floorValue, ratio: value / floorValue };
}

/** What is no part of the figure: over few connections, by POST, and with nonces, each of which is signed. */
async function others(ground: Ground): Promise<void> {
  const plain = await somePaths(ground);
  const withNonce = await somePaths(ground, Buffer.alloc(32, 7));
  const few = await ask(ground, ground.url, plain, { connections: opensslConnections });
  const posted = await ask(ground, ground.url, plain, { method: 'POST' });
  const signed = await ask(ground, ground.url, withNonce);
  const whole = (rate: number): string => rate.toFixed(0);
  ground.options.say(
    `  over ${opensslConnections} connections: ${whole(few)} ${unit}; by POST: ${whole(posted)}; with a nonce, so signed on demand: ${whole(signed)}`,
  );
}

const bodies = `
  local decode = {}
  local alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  for i = 1, 64 do decode[alphabet:sub(i, i)] = i - 1 end
  local function body(path)
    local text = path:sub(2):gsub('%%(%x%x)', function(h) return string.char(tonumber(h, 16)) end):gsub('=', '')
    local out, bits, count = {}, 0, 0
    for i = 1, #text do
      bits = (bits * 64 + decode[text:sub(i, i)]) % 16777216
      count = count + 6
      if count >= 8 then
        count = count - 8
        out[#out + 1] = string.char(math.floor(bits / 2 ^ count) % 256)
      end
    end
    return table.concat(out)
  end`;

/** Requests a second that were answered by 200, as wrk counts them. */
async function ask(
  ground: Ground,
  url: string,
  paths: readonly string[],
  how: { method?: 'GET' | 'POST'; connections?: number | undefined } = {},
): Promise<number> {
  const method = how.method ?? 'GET';
  const list = ground.file('paths.txt', `${paths.join('\n')}\n`);
  const base = new URL(url).pathname.replace(/\/$/, '');
  // Numbered: of equal strings Lua keeps one, which wrk would read faster than many.
  const format =
    method === 'GET'
      ? `wrk.format('GET', '${base}' .. path, { ['X-Number'] = #requests })`
      : `wrk.format('POST', '${base || '/'}', { ['X-Number'] = #requests, ['Content-Type'] = 'application/ocsp-request' }, body(path))`;
  const script = ground.file(
    'wrk.lua',
    `${bodies}
     local requests, turn = {}, 0
     function init(args)
       for path in io.lines('${list}') do
         requests[#requests + 1] = ${format}
       end
     end
     function request() turn = turn % #requests + 1; return requests[turn] end`,
  );
  const output = await run('wrk', [
    '-t',
    '1',
    '-c',
    String(how.connections ?? connections),
    '-d',
    `${seconds}s`,
    '-s',
    script,
    url,
  ]);
  if (/Non-2xx/.test(output)) throw new Error(`not every answer of ${url} was 200: ${output}`);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1]);
  if (!(rate > 0)) throw new Error(`wrk had no answers of ${url}: ${output}`);
  return rate;
}

async function startRival(
  { options }: Ground,
  port: number,
  command: string,
  args: readonly string[],
): Promise<SupervisedProcess> {
  const logFile = join(options.stateDirectory, 'rival.log');
  rmSync(logFile, { force: true });
  const rival = superviseProcess({
    name: command,
    command,
    args,
    env: { PATH: process.env.PATH, TZ: 'UTC' },
    logFile,
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 1_000,
    shepherd: true, // openssl wants to lead a group of its own
    ready: () => (command === 'openssl' ? hasSaid(logFile, 'ACCEPT') : accepts(port)),
    readyTimeoutMs: 60_000,
    log: () => undefined,
  });
  await rival.start();
  return rival;
}

/** A connection that only looks whether somebody is there ends a process of openssl's. */
const hasSaid = async (logFile: string, word: string): Promise<boolean> => {
  await sleep(500);
  return readFileSync(logFile, 'utf8').includes(word);
};

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

function fetchBytes(url: string, agent?: Agent): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    get(url, agent ? { agent } : {}, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => resolve(Buffer.concat(parts)));
    }).once('error', reject);
  });
}
