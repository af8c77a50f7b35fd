/**
 * A service whose HTTP is answered by several processes at one port (node:cluster), so that it has more than one event loop: each
 * connection goes to the next of them. The primary answers none; it keeps them running, and may do work of its own meanwhile. When it
 * ends, however it ends, they end too. A connection that is being given to a process at the very moment in which that is killed is lost
 * with it: Node gives it to no other, and its client waits until it gives up and asks again.
 */
import cluster from 'node:cluster';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { AggregatorRegistry, type Registry } from 'prom-client';
import { stopOnSignal } from './service.ts';

/** Between the end of a process that could not begin and the next attempt. */
const retryMs = 1_000;

/** Whether this process is to answer HTTP, or to start those that do. */
export const answersHttp = cluster.isWorker;

/**
 * In the primary: starts `count` processes of the same program, and another for each that ends; on SIGTERM or SIGINT they stop as by
 * themselves (see `serve`), then `release` is called. Resolves when all listen; rejects when one ends before it does so.
 */
export async function serveInProcesses(options: {
  count: number;
  log: Logger;
  release: () => Promise<void>;
}): Promise<void> {
  const { count, log, release } = options;
  let isStopping = false;

  const start = (): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const worker = cluster.fork();
    let listens = false;
    worker.once('listening', () => {
      listens = true;
      resolve();
    });
    worker.once('exit', (code, signal) => {
      if (isStopping) return;
      const how = signal ?? `exit code ${code}`;
      if (!listens) reject(new Error(`a process that is to answer HTTP ended before it listened: ${how}`));
      else {
        log.error({ pid: worker.process.pid, how }, 'a process that answers HTTP ended; another takes its place');
        void replace();
      }
    });
    return promise;
  };
  const replace = async (): Promise<void> => {
    while (!isStopping) {
      try {
        return await start();
      } catch (error) {
        log.error({ err: error }, 'it is tried again');
        await sleep(retryMs);
      }
    }
  };

  stopOnSignal(log, async () => {
    isStopping = true;
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    await Promise.all(
      workers.map(async (worker) => {
        if (worker.isDead()) return;
        const ended = new Promise((resolve) => worker.once('exit', resolve));
        worker.process.kill('SIGTERM');
        await ended;
      }),
    );
    await release();
  });
  answerMetrics(log);
  await Promise.all(Array.from({ length: count }, start));
}

const metricsWanted = 'congvu:metrics-wanted';
const metricsText = 'congvu:metrics';

interface MetricsMessage {
  type: string;
  id: number;
  text?: string;
}

/** In the primary, which alone can ask them all. */
function answerMetrics(log: Logger): void {
  const all = new AggregatorRegistry();
  cluster.on('message', (worker, { type, id }: MetricsMessage) => {
    if (type !== metricsWanted) return;
    // One that has ended meanwhile wants no answer any more.
    const tell = (told: { text?: string }): unknown =>
      worker.isConnected() && worker.send({ type: metricsText, id, ...told }, () => undefined);
    all.clusterMetrics().then(
      (text) => tell({ text }),
      (error: unknown) => {
        log.error({ err: error }, 'the metrics of one process are missing, so there are none');
        tell({});
      },
    );
  });
}

let asked = 0;

/** The metrics of all processes that answer HTTP together, as text; of this one where it is the only one. */
export function openMetrics(registry: Registry): () => Promise<string> {
  if (!cluster.isWorker) return () => registry.metrics();
  AggregatorRegistry.setRegistries(registry);
  new AggregatorRegistry(); // listens to the primary's question
  return () => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    asked += 1;
    const id = asked;
    const hear = (message: MetricsMessage): void => {
      if (message.type !== metricsText || message.id !== id) return;
      process.off('message', hear);
      if (message.text === undefined) reject(new Error('the processes did not tell their metrics'));
      else resolve(message.text);
    };
    process.on('message', hear);
    process.send?.({ type: metricsWanted, id } satisfies MetricsMessage);
    return promise;
  };
}
