import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from '@jest/globals';

let primary: ChildProcess;
let written = '';
let url: string;
afterEach(async () => {
  if (primary.exitCode !== null || primary.signalCode !== null) return;
  primary.kill('SIGKILL');
  await once(primary, 'exit');
});

async function start(...mood: string[]): Promise<void> {
  const finder = createServer().listen(0, '127.0.0.1');
  await once(finder, 'listening');
  const { port } = finder.address() as AddressInfo;
  await new Promise((resolve) => finder.close(resolve));
  url = `http://127.0.0.1:${port}`;
  written = '';
  const program = fileURLToPath(new URL('testing-processes.ts', import.meta.url));
  primary = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, String(port), ...mood], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [primary.stdout, primary.stderr])
    stream?.setEncoding('utf8').on('data', (part: string) => {
      written += part;
    });
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`it did not become so; the processes wrote:\n${written}`);
    await sleep(50);
  }
}

const said = (message: string): number => written.split(`"msg":"${message}"`).length - 1;

/** Each time over a connection of its own, as each goes to the next process. */
const ask = async (path: string, method = 'GET'): Promise<string> => {
  const answer = await fetch(`${url}${path}`, { method, headers: { Connection: 'close' } });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.text();
};
const pids = async (): Promise<Set<string>> => new Set(await Promise.all(Array.from({ length: 6 }, () => ask('/pid'))));

const isRunning = (pid: string): boolean => {
  try {
    return process.kill(Number(pid), 0);
  } catch {
    return false;
  }
};

test('two processes answer in turn, and their metrics are told together by whichever is asked', async () => {
  await start();
  await until(() => said('listening') === 2);
  const two = await pids();
  expect(two.size).toBe(2);
  expect(two).not.toContain(String(primary.pid));
  const least = Math.min(...[...two].map(Number));
  for (let time = 0; time < 2; time += 1) {
    const metrics = await ask('/metrics');
    expect(metrics).toMatch(/^processes 2$/m);
    expect(metrics).toMatch(new RegExp(`^first_pid ${least}$`, 'm'));
    expect(metrics).toMatch(/^http_request_duration_seconds_count{method="GET",route="\/pid",status="200"} 6$/m);
  }
});

test('one that ends costs nothing but what it was at: the other answers, and another takes its place', async () => {
  await start();
  await until(() => said('listening') === 2);
  const before = await pids();
  await expect(ask('/end', 'POST')).rejects.toThrow();
  const ended = 'a process that answers HTTP ended; another takes its place';
  await until(() => said(ended) === 1); // until then connections may still be given to it
  const [left, ...rest] = await pids();
  expect(rest).toEqual([]);
  expect(before).toContain(left);
  await until(() => said('listening') === 3);
  const after = await pids();
  expect(after.size).toBe(2);
  expect(after).toContain(left);
  expect(said(ended)).toBe(1);
});

test('SIGTERM: what runs is finished, each lets go, the primary last', async () => {
  await start();
  await until(() => said('listening') === 2);
  const slow = [ask('/slow'), ask('/slow')];
  await sleep(300);
  primary.kill('SIGTERM');
  expect(new Set(await Promise.all(slow)).size).toBe(2);
  await once(primary, 'exit');
  expect(primary.exitCode).toBe(0);
  expect([said('let go'), said('released')]).toEqual([2, 1]);
  expect(written.trim().split('\n').at(-1)).toContain('released');
  await expect(ask('/pid')).rejects.toThrow();
});

test('SIGKILL of the primary ends them all', async () => {
  await start();
  await until(() => said('listening') === 2);
  const two = await pids();
  primary.kill('SIGKILL');
  await until(() => ![...two].some(isRunning));
});

test('one that cannot begin is an error of the start', async () => {
  await start('fail');
  await once(primary, 'exit');
  expect(primary.exitCode).toBe(1);
  expect(written).toContain('a process that is to answer HTTP ended before it listened: exit code 3');
});
