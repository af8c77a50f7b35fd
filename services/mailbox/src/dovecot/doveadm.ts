/**
 * Dovecot's administrative HTTP API (doveadm): one command per call, answered or an error. Unreachable is always
 * `unavailable`, so that jobs wait for it.
 */
import { ServiceError } from '@congvu/errors';

export interface Doveadm {
  /** Ends the running sessions of `user`. */
  kick(user: string): Promise<void>;
  /** Asks for the list of commands, which does nothing. Throws `unavailable`. */
  ping(): Promise<void>;
}

type Answer = [kind: 'doveadmResponse' | 'error', value: unknown, tag: string][];

/** sysexits.h, as doveadm reports its exits. */
const exitTemporary = 75;
const exitNotFound = 68;

export function connectDoveadm(options: { url: string; apiKey: string }): Doveadm {
  const authorization = `X-Dovecot-API ${Buffer.from(options.apiKey).toString('base64')}`;

  async function reach(init: { method?: string; headers?: Record<string, string>; body?: string }): Promise<Response> {
    const headers = { ...init.headers, Authorization: authorization };
    const response = await fetch(`${options.url}/doveadm/v1`, {
      ...init,
      headers,
      signal: AbortSignal.timeout(15_000),
    });
    if (!response.ok) throw new Error(`doveadm answered ${response.status}`);
    return response;
  }

  async function run(command: string, parameters: object): Promise<{ exitCode: number } | { value: unknown }> {
    let answer: Answer;
    try {
      const response = await reach({
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify([[command, parameters, 'only']]),
      });
      answer = (await response.json()) as Answer;
    } catch (cause) {
      throw unavailable(cause);
    }
    const [kind, value] = answer[0] ?? ['error', {}];
    if (kind === 'doveadmResponse') return { value };
    const { exitCode } = value as { exitCode?: number };
    if (exitCode === undefined || exitCode === exitTemporary)
      throw unavailable(new Error(`doveadm ${command}: exit ${exitCode}`));
    return { exitCode };
  }

  return {
    kick: async (user) => {
      const kicked = await run('kick', { mask: [user] });
      if ('exitCode' in kicked && kicked.exitCode !== exitNotFound)
        throw new Error(`doveadm kick: exit ${kicked.exitCode}`);
    },
    ping: async () => {
      try {
        const response = await fetch(`${options.url}/doveadm/v1`, {
          headers: { Authorization: authorization },
          signal: AbortSignal.timeout(5_000),
        });
        await response.arrayBuffer();
        if (!response.ok) throw new Error(`doveadm answered ${response.status}`);
      } catch (cause) {
        throw unavailable(cause);
      }
    },
  };
}

const unavailable = (cause: unknown): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'dovecot_unavailable',
    detail: 'The mail store does not answer; try again shortly.',
    retryAfterSeconds: 5,
    cause,
  });
