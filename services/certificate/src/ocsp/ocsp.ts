/**
 * The OCSP responder of a process: its reader of statuses, its answers, who signs them, and what keeps both ready. It holds no state that
 * another process would need; as many as wanted answer beside each other.
 */
import type { RequestListener } from 'node:http';
import type { Logger } from 'pino';
import { createAnswers, type OcspAnswers } from './answer-request.ts';
import { keepPrepared } from './keep-prepared.ts';
import { ocspListener } from './listener.ts';
import { openResponders, type ResponderDependencies, type Responders } from './responders.ts';
import { openStatusReader } from './status-store.ts';

export interface Ocsp {
  listener: RequestListener;
  answers: OcspAnswers;
  responders: Responders;
  /** Makes answers ahead from now on, and responders anew in time. */
  keepReady(): void;
  close(): Promise<void>;
}

const responderCheckMs = 15 * 60_000;

export async function openOcsp(
  dependencies: ResponderDependencies & {
    databaseUrl: string;
    ocspHours: number;
    ocspPrepared: number;
    log: Logger;
  },
): Promise<Ocsp> {
  const { database, authorities, log, ocspPrepared: capacity } = dependencies;
  const responders = await openResponders(dependencies);
  const reader = openStatusReader(dependencies.databaseUrl, () => answers.forget());
  const answers = createAnswers({
    authorities,
    responders,
    read: reader.read,
    validitySeconds: dependencies.ocspHours * 3600,
    capacity,
  });
  const closing = new AbortController();
  let renewing: NodeJS.Timeout | undefined;
  return {
    listener: ocspListener(answers, log),
    answers,
    responders,
    keepReady: () => {
      renewing = setInterval(() => {
        responders.renew().catch((error: unknown) => log.error({ err: error }, 'OCSP responders were not renewed'));
      }, responderCheckMs).unref();
      void keepPrepared({ database, answers, capacity, log, signal: closing.signal });
    },
    close: async () => {
      closing.abort();
      clearInterval(renewing);
      await reader.close();
    },
  };
}
