/**
 * Dovecot's administrative HTTP API (doveadm): one command per call, answered or an error. Unreachable is always
 * `unavailable`, so that jobs wait for it.
 */
import { ServiceError } from '@congvu/errors';

export interface Doveadm {
  /** Ends the running sessions of `user`. */
  kick(user: string): Promise<void>;
  /** What each of the mailboxes holds; absent is one that the mail store does not know, or cannot open while it opens another. Throws `unavailable`. */
  quotas(users: readonly string[]): Promise<Map<string, QuotaUsed>>;
  /** What the mailbox holds, and may hold; undefined when Dovecot knows no such user. */
  quota(user: string): Promise<{ usedBytes: number; limitBytes: number | null } | undefined>;
  /** Who may do what with INBOX and, by configuration, every folder: rights by user. Undefined as above. */
  access(user: string): Promise<Map<string, string[]> | undefined>;
  /**
   * Gives each of the others these rights in place of those before, none takes all away; then brings the list of who shares what to what
   * the rights say, also under another name of the mailbox. False when Dovecot knows no such user.
   */
  setAccess(user: string, others: ReadonlyMap<string, readonly string[]>): Promise<boolean>;
  /** Deletes the whole store of `user`, which lies in a directory of the name `id`. Harmless to repeat. */
  removeStore(user: string, id: string): Promise<void>;
  /** Asks for the list of commands, which does nothing. Throws `unavailable`. */
  ping(): Promise<void>;
}

export interface QuotaUsed {
  /** In steps of 1,024, as Dovecot counts. */
  bytes: number;
  messages: number;
}

type Outcome = { command: string; exitCode: number } | { value: unknown };
type Answer = [kind: 'doveadmResponse' | 'error', value: unknown, tag: string][];

/** sysexits.h, as doveadm reports its exits. */
const exitTemporary = 75;
const exitNotFound = 68;
const exitNoUser = 67;
const isNothingThere = (exitCode: number): boolean => exitCode === exitNotFound || exitCode === exitNoUser;

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
  async function runAll(commands: readonly (readonly [command: string, parameters: object])[]): Promise<Outcome[]> {
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
      return { command, exitCode: (value as { exitCode?: number }).exitCode ?? exitTemporary };
    });
  }

  /** Undefined when there is no such user, or nothing of the kind. */
  async function ask(command: string, parameters: object): Promise<unknown> {
    const [answer] = (await runAll([[command, parameters]])) as [Outcome];
    if ('value' in answer) return answer.value;
    if (isNothingThere(answer.exitCode)) return undefined;
    throw failure(answer);
  }

  function failure({ command, exitCode }: { command: string; exitCode: number }): Error {
    const error = new Error(`doveadm ${command}: exit ${exitCode}`);
    return exitCode === exitTemporary ? unavailable(error) : error;
  }

  return {
    kick: async (user) => {
      await ask('kick', { mask: [user] });
    },
    quota: async (user) => {
      const rows = (await ask('quotaGet', { user })) as { type: string; value: string; limit: string }[] | undefined;
      const storage = rows?.find(({ type }) => type === 'STORAGE');
      if (!storage) return undefined;
      const limit = Number(storage.limit); // "-" when there is none
      return { usedBytes: Number(storage.value) * 1024, limitBytes: Number.isNaN(limit) ? null : limit * 1024 };
    },
    access: async (user) => {
      const rows = (await ask('aclGet', { user, mailbox: 'INBOX' })) as { id: string; rights: string }[] | undefined;
      const named = rows?.filter(({ id }) => id.startsWith('user='));
      return named && new Map(named.map(({ id, rights }) => [id.slice('user='.length), rights.split(' ')]));
    },
    setAccess: async (user, others) => {
      const changes = [...others].map(([other, right]) => {
        const whose = { user, mailbox: 'INBOX', id: `user=${other}` };
        return right.length === 0 ? (['aclDelete', whose] as const) : (['aclSet', { ...whose, right }] as const);
      });
      const outcomes = await runAll([...changes, ['aclRecalc', { user }]]);
      const failed = outcomes.filter((outcome) => 'exitCode' in outcome);
      const [worst] = failed.filter(({ exitCode }) => !isNothingThere(exitCode));
      if (worst) throw failure(worst);
      return !failed.some(({ command }) => command === 'aclSet');
    },
    removeStore: async (user, id) => {
      const found = (await ask('user', { userMask: [user] })) as Record<string, { home?: string }> | undefined;
      const home = found?.[user]?.home ?? '';
      // A path of anything but this one store is never deleted.
      if (!home.endsWith(`/${id.slice(0, 2)}/${id}`))
        throw new Error('the store of a mailbox is not where it should be');
      // Of what is not there the deletion would be an error, and asked for again and again.
      const files = { fsDriver: 'posix', fsArgs: 'dirs' };
      const isThere = async () => (await ask('fsStat', { ...files, path: home })) !== undefined;
      if (!(await isThere())) return;
      await ask('fsDelete', { ...files, recursive: true, path: [home] });
      if (await isThere()) throw new Error('the store of a mailbox was not deleted');
    },
    quotas: async (users) => {
      const outcomes = await runAll(users.map((user) => ['quotaGet', { user }]));
      // One store that is sick holds up no other; that none answers is the mail store's own failing.
      const [first] = outcomes;
      const isSick = (outcome: Outcome) => 'exitCode' in outcome && outcome.exitCode === exitTemporary;
      if (first && 'exitCode' in first && outcomes.every(isSick)) throw failure(first);
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
