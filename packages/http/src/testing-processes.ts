/** A service in two processes, for processes.test.ts: each says who it is, and can be told to end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createApp } from './app.ts';
import { answersHttp, serveInProcesses } from './processes.ts';
import { type RouteAnswer, route } from './route.ts';
import { createLog, serve } from './service.ts';

const [port, mood] = process.argv.slice(2);
const log = createLog('test', 'info');
if (answersHttp) await answer();
else await serveInProcesses({ count: 2, log, release: async () => log.info('released') });

async function answer(): Promise<void> {
  if (mood === 'fail') process.exit(3);
  const open = (method: 'get' | 'post', path: string, handle: () => Promise<RouteAnswer>) =>
    route({ method, path, summary: path, permission: 'public', handle });
  const app = createApp({
    name: 'test',
    title: 'Test',
    description: 'Two processes',
    version: '0.1.0',
    tokenUrl: 'http://127.0.0.1/oauth/token',
    log,
    authenticate: () => Promise.reject(new Error('all is public')),
    readiness: {},
    gauges: {
      processes: { help: 'Their sum', read: () => 1 },
      first_pid: { help: 'The least of them', read: () => process.pid, aggregator: 'min' },
    },
    routes: [
      open('get', '/pid', async () => ({ body: process.pid })),
      open('get', '/slow', () => sleep(1_000, { body: process.pid })),
      open('post', '/end', async () => process.exit(1)),
    ],
  });
  await serve(app, { host: '127.0.0.1', port: Number(port), log, release: async () => log.info('let go') });
}
