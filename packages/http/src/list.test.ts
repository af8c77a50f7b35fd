import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  decodeCursor,
  decodeTimeCursor,
  encodeCursor,
  everyPage,
  PageQuery,
  pageAnswer,
  toCsv,
  toPage,
} from './list.ts';

async function collect<T>(generator: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of generator) all.push(one);
  return all;
}

const thrownBy = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

describe('cursors', () => {
  test('come back as they were', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'));
    const part = fc.oneof(text, fc.integer());
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), (key) => {
        const cursor = encodeCursor(key);
        expect(cursor).toMatch(/^[\w-]*$/);
        expect(decodeCursor(cursor, key.length)).toEqual(key);
      }),
    );
    expect(decodeCursor(undefined, 2)).toBeUndefined();
  });

  test('hold no text that the database cannot', () => {
    for (const text of ['a\0', '\ud800']) {
      expect(() => decodeCursor(encodeCursor([text]), 1)).toThrow(expect.objectContaining({ code: 'cursor_invalid' }));
    }
  });

  const invalid = { kind: 'invalid', code: 'cursor_invalid', faults: [{ pointer: 'query/cursor' }] };
  test.each([
    '',
    'x',
    '!!!',
    encodeCursor(['a']),
    encodeCursor(['a', 'b', 'c']),
    Buffer.from('{"length":2}').toString('base64url'),
    Buffer.from('[["a"],"b"]').toString('base64url'),
    Buffer.from('[null,true]').toString('base64url'),
  ])('%j was not given by a list of two parts', (cursor) => {
    expect(thrownBy(() => decodeCursor(cursor, 2))).toMatchObject(invalid);
  });

  const id = '6f1e5f0c-8f57-4c3e-9a10-4a3c6de0a001';
  test('a cursor of time and id holds a time and an id', () => {
    const key = ['2026-03-01T00:00:00.000Z', id] as const;
    expect(decodeTimeCursor(encodeCursor(key))).toEqual(key);
    expect(decodeTimeCursor(undefined)).toBeUndefined();
    for (const wrong of [
      ['yesterday', id],
      ['infinity', id],
      ['2026-02-30T00:00:00Z', id],
      ['0000-01-01T00:00:00Z', id],
      [key[0], 'x'],
      [1, id],
      [key[0]],
    ])
      expect(thrownBy(() => decodeTimeCursor(encodeCursor(wrong)))).toMatchObject(invalid);
  });
});

describe('pages', () => {
  const list = Array.from({ length: 23 }, (_, index) => ({ n: index }));
  const fetch = (limit: number) => async (cursor: string | undefined) => {
    const after = (decodeCursor(cursor, 1)?.[0] ?? -1) as number;
    return toPage(list.filter(({ n }) => n > after).slice(0, limit + 1), limit, ({ n }) => [n]);
  };

  test('walking them gives every row once, whatever the size', async () => {
    for (const limit of [1, 2, 11, 23, 24, 500]) {
      const pages = await collect(everyPage(fetch(limit)));
      expect(pages.flat()).toEqual(list);
      expect(pages).toHaveLength(Math.ceil(23 / limit));
    }
    expect(await collect(everyPage(async () => toPage([] as { n: number }[], 5, ({ n }) => [n])))).toEqual([[]]);
  });

  test('the next page is linked (RFC 8288), its filters kept', async () => {
    const answer = pageAnswer(await fetch(2)(undefined), '/v1/x', { limit: 2, word: 'Điền & co', absent: undefined });
    const link = new URL(/^<(.*)>; rel="next"$/.exec(answer.headers!.Link!)![1]!, 'http://x');
    expect(link.pathname).toBe('/v1/x');
    expect(Object.fromEntries(link.searchParams)).toEqual({ limit: '2', word: 'Điền & co', cursor: encodeCursor([1]) });
    expect(pageAnswer({ items: [], nextCursor: null }, '/v1/x', {}).headers).toBeUndefined();
  });

  test('sizes are limited', () => {
    expect(PageQuery.parse({})).toEqual({ limit: 50 });
    for (const limit of ['0', '-1', '501', '1.5', 'x', '', '1e9'])
      expect(PageQuery.safeParse({ limit }).success).toBe(false);
  });
});

describe('CSV (RFC 4180)', () => {
  const csv = async (...rows: Record<string, unknown>[]) =>
    (
      await collect(
        toCsv(
          ['a', 'b'],
          (async function* () {
            yield rows;
          })(),
        ),
      )
    ).join('');

  test('a mark for Excel, a header, CRLF, and nothing for nothing', async () => {
    expect(await csv({ a: null, b: undefined, c: 'not asked for' }, { a: 1, b: true })).toBe(
      '\uFEFFa,b\r\n,\r\n1,true\r\n',
    );
  });

  test.each([
    ['Sở Tài chính, Nghệ An', '"Sở Tài chính, Nghệ An"'],
    ['say "no"', '"say ""no"""'],
    ['two\nlines', '"two\nlines"'],
    ['plain', 'plain'],
    ['2026-03-01T00:00:00.000Z', '2026-03-01T00:00:00.000Z'],
  ])('%j', async (value, cell) => {
    expect(await csv({ a: value, b: 1 })).toBe(`\uFEFFa,b\r\n${cell},1\r\n`);
  });

  test.each(['=1+1', '+84912', '-2', '@SUM(A1)', '\t=1', '\r=1', '=HYPERLINK("http://x","y")', '=cmd|"/c calc"!A1'])(
    '%j is text for a spreadsheet, never a formula',
    async (value) => {
      const [, cell] = /\r\n([\s\S]*),1\r\n$/.exec(await csv({ a: value, b: 1 })) ?? [];
      const read = cell!.startsWith('"') ? cell!.slice(1, -1).replaceAll('""', '"') : cell!;
      expect(read).toBe(`'${value}`);
    },
  );

  test('dates, objects and negative numbers', async () => {
    expect(await csv({ a: new Date(0), b: { x: '1,"2"' } }, { a: -5, b: [1] })).toBe(
      '\uFEFFa,b\r\n1970-01-01T00:00:00.000Z,"{""x"":""1,\\""2\\""""}"\r\n-5,[1]\r\n',
    );
  });

  test('a reader of CSV finds every value again', () => {
    const value = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', ' ', 'Đ', '=') });
    return fc.assert(
      fc.asyncProperty(value, value, async (a, b) => {
        const text = (await csv({ a, b })).split('\r\n').slice(1).join('\r\n');
        expect(parse(text)).toEqual([[a, b].map((cell) => (/^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell))]);
      }),
    );
  });
});

/** RFC 4180 section 2, as strictly as it is written. */
function parse(text: string): string[][] {
  const rows: string[][] = [[]];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/y;
  while (cell.lastIndex < text.length) {
    const [whole, quoted, plain, end] = cell.exec(text) ?? [];
    if (whole === undefined) throw new Error('no CSV');
    rows.at(-1)!.push(quoted?.replaceAll('""', '"') ?? plain!);
    if (end === '\r\n' && cell.lastIndex < text.length) rows.push([]);
    if (end === '') break;
  }
  return rows;
}
