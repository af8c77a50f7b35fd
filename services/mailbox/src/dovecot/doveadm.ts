/**
 * Dovecot's administrative HTTP API (doveadm): one command per call, answered or an error. Unreachable is always
 * `unavailable`, so that jobs wait for it.
 */
import { ServiceError } from '@congvu/errors';

export interface Doveadm {
  /** Ends the running sessions of `user`. */
  kick(user: string): Promise<void>;
  /** What each of the mailboxes holds; absent is one that the mail store does not know. Throws `unavailable`. */
  quotas(users: readonly string[]): Promise<Map<string, QuotaUsed>>;
  /** Asks for the list of commands, which does nothing. Throws `unavailable`. */
  ping(): Promise<void>;
}

export interface QuotaUsed {
  /** In steps of 1,024, as Dovecot counts. */
  bytes: number;
  messages: number;
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

  /** The outcome of each command, in their order. */
  async function runAll(
    commands: readonly (readonly [command: string, parameters: object])[],
  ): Promise<({ exitCode: number } | { value: unknown })[]> {
    let answer: Answer;
    try {
      const response = await reach({
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(commands.map(([command, parameters], index) => [command, parameters, String(index)])),
      });
      answer = (await response.json()) as Answer;
    } catch (cause) {
      throw unavailable(cause);
    }
    const byTag = new Map(answer.map(([kind, value, tag]) => [tag, { kind, value }]));
    return commands.map(([command], index) => {
      const { kind, value } = byTag.get(String(index)) ?? { kind: 'error', value: {} };
      if (kind === 'doveadmResponse') return { value };
      const { exitCode } = value as { exitCode?: number };
      if (exitCode === undefined || exitCode === exitTemporary)
        throw unavailable(new Error(`doveadm ${command}: exit ${exitCode}`));
      return { exitCode };
    });
  }

  return {
    kick: async (user) => {
      const [kicked] = await runAll([['kick', { mask: [user] }]]);
      if (kicked && 'exitCode' in kicked && kicked.exitCode !== exitNotFound)
        throw new Error(`doveadm kick: exit ${kicked.exitCode}`);
    },
    quotas: async (users) => {
      const outcomes = await runAll(users.map((user) => ['quotaGet', { user }]));
      return new Map(
        outcomes.flatMap((outcome, index) => {
          if ('exitCode' in outcome) return [];
          const roots = outcome.value as { type: 'STORAGE' | 'MESSAGE'; value: string }[];
          const used = (type: string): number => Number(roots.find((root) => root.type === type)?.value ?? 0);
          return [[users[index] as string, { bytes: used('STORAGE') * 1024, messages: used('MESSAGE') }] as const];
        }),
      );
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
