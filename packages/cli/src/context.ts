/** What every command works with: the API as who is logged in, and where to say things. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiClient } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import type { Command } from 'commander';
import { z } from 'zod';
import { UsageError } from './failure.ts';
import { t } from './language.ts';
import { createOutput, type Output } from './output.ts';
import { type Credentials, openSession } from './session.ts';

export interface Context {
  api: ApiClient & { credentials: Credentials };
  output: Output;
}

/** Adds commands to the program, or to a command of it. */
export type AddCommands = (program: Command, credentialsFile: string) => void;

/** A command's action with the session opened for it. `Arguments` are those of the command line, then its options. */
export const action =
  <Arguments extends unknown[]>(
    credentialsFile: string,
    work: (context: Context, ...args: Arguments) => Promise<void>,
  ) =>
  async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command;
    const { json } = command.optsWithGlobals<{ json?: boolean }>();
    const context = { api: openSession(credentialsFile), output: createOutput(json === true) };
    await work(context, ...(given.slice(0, -1) as Arguments));
  };

/** A group of commands, such as `congvu requests …`. */
export const group = (program: Command, name: string, description: string): Command =>
  program.command(name).description(description);

export const examples = (lines: string): string => `\n${t('Ví dụ:', 'Examples:')}\n${lines}\n`;

/** The parts of an answer that a command needs; whatever else a newer server says is kept for `--json`. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.looseObject({ items: z.array(item), nextCursor: z.string().nullable() });

/** Up to `wanted` items of a list, over as many pages as it takes. */
export async function fetchItems<T extends z.ZodType>(
  api: ApiClient,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  item: T,
  wanted: number,
): Promise<z.infer<T>[]> {
  const items: z.infer<T>[] = [];
  let cursor: string | undefined;
  do {
    const parameters = toQuery({ ...query, limit: String(Math.min(wanted - items.length, 500)), cursor });
    const page = await api.call('directory', `${path}?${parameters}`, pageOf(item));
    items.push(...(page.items as z.infer<T>[]));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined && items.length < wanted);
  return items;
}

export function toQuery(values: Readonly<Record<string, string | undefined>>): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined) query.set(name, value);
  return query;
}

/** For options such as `--limit 200`. */
export function wholeNumber(value: string): number {
  const number = Number(value);
  if (Number.isInteger(number) && number > 0) return number;
  throw new UsageError(t(`"${value}" không phải là số nguyên dương.`, `"${value}" is not a whole number above 0.`));
}

/** Asks every second until it is over; once the server has answered, it goes on asking while the server is down. */
export async function watch<T>(read: () => Promise<T>, isOver: (state: T) => boolean): Promise<T> {
  for (let wasThere = false; ; await sleep(1_000)) {
    try {
      const state = await read();
      if (isOver(state)) return state;
      wasThere = true;
    } catch (error) {
      if (!(error instanceof ServiceError) || error.kind !== 'unavailable' || !wasThere) throw error;
    }
  }
}
