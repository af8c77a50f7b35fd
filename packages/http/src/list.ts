/**
 * Lists: `limit` and an opaque `cursor` (the sort key of the last row seen), `Link: rel="next"` (RFC 8288), or by `Accept` the
 * whole list streamed as CSV (RFC 4180) or as JSON Lines, one item a line. A page costs the same wherever in the list it lies,
 * and a stream holds one page at a time.
 */
import { ServiceError } from '@congvu/errors';
import { z } from 'zod';
import type { RouteAnswer, RouteContext } from './route.ts';
import { isStorableText } from './text.ts';

export const maxPageSize = 500;

export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(maxPageSize).default(50),
  cursor: z.string().max(1_200).optional(),
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
  return decodeSortCursor(cursor, TimeKey, 2);
}

const NameKey = z.tuple([z.string(), z.uuid()]);

/** The sort key of a list by name and id. */
export function decodeNameCursor(cursor: string | undefined): [sortKey: string, id: string] | undefined {
  return decodeSortCursor(cursor, NameKey, 2);
}

/** The sort key of a list in an order of its own. */
export function decodeSortCursor<T extends z.ZodType>(
  cursor: string | undefined,
  key: T,
  length: number,
): z.infer<T> | undefined {
  const decoded = decodeCursor(cursor, length);
  if (decoded === undefined) return undefined;
  const checked = key.safeParse(decoded);
  if (!checked.success) throw foreignCursor();
  return checked.data;
}

/** The number in a cursor of a list by number. */
export function decodeNumberCursor(cursor: string | undefined): string | undefined {
  const number = decodeCursor(cursor, 1)?.[0];
  if (number === undefined) return undefined;
  if (!/^\d{1,18}$/.test(String(number))) throw foreignCursor();
  return String(number);
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

const jsonLinesTypes = ['application/jsonl', 'application/x-ndjson'] as const;
/** What `listAnswer` can answer with. */
export const listTypes = ['application/json', 'text/csv', ...jsonLinesTypes] as const;

/**
 * A list as an answer: one page as JSON, or by `Accept` all of it, streamed, as CSV or as JSON Lines. `fetch` gives the page of a
 * size that begins after a cursor.
 */
export async function listAnswer<T extends object>(
  context: RouteContext<unknown, { limit: number; cursor?: string | undefined }>,
  path: string,
  columns: readonly (keyof T & string)[],
  fetch: (limit: number, cursor: string | undefined) => Promise<Page<T>>,
): Promise<RouteAnswer> {
  const type = context.prefers(listTypes);
  if (type === 'application/json') {
    return pageAnswer(await fetch(context.query.limit, context.query.cursor), path, context.query);
  }
  // The first page before the first octet: what can be refused is refused with a problem document.
  const first = await fetch(exportPageSize, context.query.cursor);
  const pages = everyPage((cursor) => (cursor === undefined ? Promise.resolve(first) : fetch(exportPageSize, cursor)));
  const body = type === 'text/csv' ? toCsv(columns, pages) : toJsonLines(pages);
  return { headers: { 'Content-Type': `${type}; charset=utf-8` }, body };
}

const exportPageSize = 1_000;

/** One JSON text a line (jsonlines.org). */
export async function* toJsonLines<T extends object>(pages: AsyncIterable<T[]>) {
  for await (const rows of pages) yield rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

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
