/**
 * What a command shows: tables and lines for people, one JSON document for scripts (`--json`), progress on standard error so
 * that standard output stays clean for pipes.
 */
import { SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import { locale, t } from './language.ts';

export interface Column<T> {
  title: string;
  value: (row: T) => unknown;
}

export interface Output {
  json: boolean;
  /** A list: a table, or a JSON array. */
  list<T>(rows: readonly T[], columns: readonly Column<T>[]): void;
  /** One thing: name and value line by line, or a JSON object. */
  record(value: object, lines: readonly [string, unknown][]): void;
  /** For people alone; on standard error. */
  note(text: string): void;
  progress(title: string): Progress;
}

export interface Progress {
  /** `total` 0: not known. */
  update(done: number, total: number): void;
  stop(): void;
}

export const createOutput = (json: boolean): Output => ({
  json,
  list: (rows, columns) => {
    if (json) return print(JSON.stringify(rows));
    if (rows.length === 0) return note(t('Không có kết quả.', 'Nothing found.'));
    const table = new Table({
      head: columns.map(({ title }) => title),
      chars: borderless,
      style: { head: [], 'padding-left': 0, 'padding-right': 2 },
    });
    table.push(...rows.map((row) => columns.map(({ value }) => text(value(row)))));
    print(table.toString());
  },
  record: (value, lines) => {
    if (json) return print(JSON.stringify(value));
    const width = Math.max(...lines.map(([name]) => name.length));
    for (const [name, content] of lines) print(`${name.padEnd(width)}  ${text(content)}`);
  },
  note: (line) => {
    if (!json) note(line);
  },
  progress: (title) => (json ? { update: () => undefined, stop: () => undefined } : showProgress(title)),
});

/** A bar where there is a terminal, otherwise a line for every tenth; without a total, only how many it were in the end. */
function showProgress(title: string): Progress {
  let counted = 0;
  const count: Progress['update'] = (done) => {
    counted = done;
  };
  if (!process.stderr.isTTY) {
    let said = -1;
    return {
      update: (done, total) => {
        if (total === 0) return count(done, total);
        const tenth = Math.floor((done / total) * 10);
        if (tenth === said) return;
        said = tenth;
        note(`${title}: ${done}/${total}`);
      },
      stop: () => {
        if (counted > 0) note(`${title}: ${counted}`);
      },
    };
  }
  const bar = new SingleBar({
    format: `${title} {bar} {value}/{total} {percentage}% {duration_formatted}`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: false,
  });
  let started = false;
  return {
    update: (done, total) => {
      if (total === 0) return count(done, total);
      if (!started) bar.start(total, done);
      started = true;
      bar.setTotal(total);
      bar.update(done);
    },
    stop: () => {
      if (counted > 0) note(`${title}: ${counted}`);
      else bar.stop();
    },
  };
}

const borderless = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
    'middle',
  ].map((name) => [name, '']),
);

/** What the server sent may hold what moves a terminal's cursor; only print is let through. */
const printable = (value: string): string => value.replace(/[\p{Cc}\p{Cf}]/gu, ' ');

function text(value: unknown): string {
  if (value === null || value === undefined || value === '') return '—';
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value))
    return new Date(value).toLocaleString(locale(), { dateStyle: 'short', timeStyle: 'short' });
  return printable(String(value));
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`);
export const note = (line: string): void => void process.stderr.write(`${line}\n`);
