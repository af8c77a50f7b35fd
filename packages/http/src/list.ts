/**
 * Lists: `limit` and an opaque `cursor` (the sort key of the last row seen), `Link: rel="next"` (RFC 8288), or the whole
 * list streamed as CSV (RFC 4180) by `Accept: text/csv`. A page costs the same wherever in the list it lies.
 */
import { ServiceError } from '@congvu/errors';
import { z } from 'zod';
import type { RouteAnswer, RouteContext } from './route.ts';
import { isStorableText } from './text.ts';

export const maxPageSize = 500;

export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(maxPageSize).default(50),
  cursor: z.string().max(400).optional(),
});

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

export const encodeCursor = (key: readonly (string | number)[]): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url');

/** The sort key in a cursor, of exactly `length` strings or numbers. Throws `invalid` for anything else. */
export function decodeCursor(cursor: string | undefined, length: number): (string | number)[] | undefined {
  if (cursor === undefined) return undefined;
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    const sound =
      Array.isArray(key) &&
      key.length === length &&
      key.every((part) => typeof part === 'number' || (typeof part === 'string' && isStorableText(part)));
    if (sound) return key;
  } catch {
    // fall through: not JSON is as wrong as not ours
  }
  throw foreignCursor();
}

const TimeKey = z.tuple([z.iso.datetime().startsWith('2'), z.uuid()]);

/** The sort key of a list by time and id: what anybody may write into a cursor must not reach the database as a time. */
export function decodeTimeCursor(cursor: string | undefined): [time: string, id: string] | undefined {
  const key = decodeCursor(cursor, 2);
  if (key === undefined) return undefined;
  const checked = TimeKey.safeParse(key);
  if (!checked.success) throw foreignCursor();
  return checked.data;
}

function foreignCursor(): ServiceError {
  const detail = 'The cursor is not one that this list gave; begin again without it.';
  return new ServiceError({
    kind: 'invalid',
    code: 'cursor_invalid',
    detail,
    faults: [{ pointer: 'query/cursor', code: 'cursor_invalid', detail }],
  });
}

/** Cuts rows, of which one more than `limit` was asked for, into a page. */
export function toPage<T>(rows: T[], limit: number, key: (row: T) => readonly (string | number)[]): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last ? encodeCursor(key(last)) : null };
}

/** A page as an answer, with its `Link`. `path` and `query` are those of the request. */
export function pageAnswer<T>(page: Page<T>, path: string, query: Record<string, unknown>): RouteAnswer {
  if (page.nextCursor === null) return { body: page };
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) next.set(name, String(value));
  next.set('cursor', page.nextCursor);
  return { headers: { Link: `<${path}?${next}>; rel="next"` }, body: page };
}

/**
 * A list as an answer: one page as JSON, or by `Accept: text/csv` all of it, streamed. `fetch` gives the page of a size that
 * begins after a cursor.
 */
export async function listAnswer<T extends object>(
  context: RouteContext<unknown, { limit: number; cursor?: string | undefined }>,
  path: string,
  columns: readonly (keyof T & string)[],
  fetch: (limit: number, cursor: string | undefined) => Promise<Page<T>>,
): Promise<RouteAnswer> {
  if (context.accepts('text/csv')) {
    return {
      headers: { 'Content-Type': 'text/csv; charset=utf-8' },
      body: toCsv(
        columns,
        everyPage((cursor) => fetch(exportPageSize, cursor)),
      ),
    };
  }
  return pageAnswer(await fetch(context.query.limit, context.query.cursor), path, context.query);
}

const exportPageSize = 1_000;

/** Rows as CSV, streamed. A cell that a spreadsheet would run as a formula is made text by a leading apostrophe. */
export async function* toCsv<T extends object>(columns: readonly (keyof T & string)[], pages: AsyncIterable<T[]>) {
  yield `\uFEFF${columns.join(',')}\r\n`; // the mark makes Excel read UTF-8
  for await (const rows of pages) {
    yield rows.map((row) => `${columns.map((column) => csvCell(row[column])).join(',')}\r\n`).join('');
  }
}

function csvCell(value: unknown): string {
  if (value === null || value === undefined) return '';
  const text =
    value instanceof Date ? value.toISOString() : typeof value === 'object' ? JSON.stringify(value) : String(value);
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Walks every page of a list, for exports. */
export async function* everyPage<T>(fetch: (cursor: string | undefined) => Promise<Page<T>>): AsyncGenerator<T[]> {
  let cursor: string | undefined;
  do {
    const page = await fetch(cursor);
    yield page.items;
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
}
