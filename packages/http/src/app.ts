/**
 * The app shell of every service: request ids, redacted logs, security headers, health, metrics, OpenAPI, problem
 * documents. A service brings its routes and what it must reach to be ready.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { ServiceError } from '@congvu/errors';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Authenticate } from './authentication.ts';
import { openApiDocument } from './openapi.ts';
import { problemHandler } from './problem.ts';
import { openMetrics } from './processes.ts';
import { requestLog } from './request-log.ts';
import { mountRoutes, type Route } from './route.ts';

interface GaugeOptions {
  help: string;
  read: () => number;
  /** Of several processes: their sum unless told. */
  aggregator?: 'min' | 'max';
}

export interface AppOptions {
  name: string;
  title: string;
  description: string;
  version: string;
  tokenUrl: string;
  log: Logger;
  authenticate: Authenticate;
  routes: readonly Route[];
  /** Errors of libraries below the routes as ServiceErrors; what it does not know it gives back. */
  translateError?: (error: unknown) => unknown;
  /** Whether X-Forwarded-For is believed, and from whom (Express's `trust proxy`); nobody unless told. */
  trustProxy?: string | undefined;
  /** What `/readyz` checks, by name; a check throws when its part cannot be used. */
  readiness: Readonly<Record<string, () => Promise<unknown>>>;
  /** What `/metrics` tells of this service alone, by name. */
  gauges?: Readonly<Record<string, GaugeOptions>>;
}

export function createApp(options: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', options.trustProxy ?? false);
  app.set('query parser', 'simple');
  const metrics = httpMetrics(options.gauges ?? {});
  app.use(requestLog(options.log), metrics.observe, helmet());
  app.get('/healthz', (_request, response) => void response.json({ status: 'ok' }));
  app.get('/readyz', readiness(options.readiness));
  app.get('/metrics', metrics.expose);
  documentation(app, options);
  app.use(mountRoutes(options.routes, options.authenticate));
  app.use((request) => {
    throw new ServiceError({
      kind: 'not_found',
      code: 'no_such_url',
      detail: `There is nothing at ${request.method} ${request.path.slice(0, 200)}; see /openapi.json.`,
    });
  });
  app.use(problemHandler(options.translateError ?? ((error) => error), options.log));
  return app;
}

function readiness(checks: AppOptions['readiness']): RequestHandler {
  return async (_request, response) => {
    const results = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => {
        const timeout = AbortSignal.timeout(3_000);
        const expired = new Promise<never>((_resolve, reject) => {
          timeout.addEventListener('abort', () => reject(new Error('no answer within 3 s')), { once: true });
        });
        const state = await Promise.race([check(), expired]).then(
          () => 'ok',
          () => 'unavailable',
        );
        return [name, state] as const;
      }),
    );
    const ready = results.every(([, state]) => state === 'ok');
    response
      .status(ready ? 200 : 503)
      .json({ status: ready ? 'ok' : 'unavailable', checks: Object.fromEntries(results) });
  };
}

/** One registry an app, so that tests can make many apps in one process. */
function httpMetrics(gauges: NonNullable<AppOptions['gauges']>): { observe: RequestHandler; expose: RequestHandler } {
  const registry = new Registry();
  // The delay of the event loop every 100 ms: ten times that, as is usual, is what an idle process does most.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  for (const [name, { help, read, aggregator = 'sum' }] of Object.entries(gauges))
    new Gauge({
      name,
      help,
      aggregator,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from request to the end of its answer',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10],
    registers: [registry],
  });
  const metrics = openMetrics(registry);
  return {
    observe: (request, response, next) => {
      const stop = duration.startTimer();
      response.once('finish', () =>
        stop({ method: request.method, route: request.route?.path ?? 'none', status: String(response.statusCode) }),
      );
      next();
    },
    expose: async (_request, response) => {
      response.type(registry.contentType).send(await metrics());
    },
  };
}

const swaggerUi = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));

function documentation(app: Express, options: AppOptions): void {
  const document = openApiDocument(options, options.routes);
  app.get('/openapi.json', (_request, response) => void response.json(document));
  app.get('/docs/swagger-initializer.js', (_request, response) => {
    response
      .type('text/javascript')
      .send("window.ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true });");
  });
  app.use('/docs', express.static(swaggerUi, { index: 'index.html' }));
}
