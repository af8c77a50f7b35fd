/** Files that are sent and received. */
import { createWriteStream, readFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { extname } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { UsageError } from './failure.ts';
import { t } from './language.ts';
import type { Progress } from './output.ts';

const mediaTypes: Readonly<Record<string, string>> = {
  '.csv': 'text/csv',
  '.xlsx': 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
};

/** A spreadsheet with the media type that its name stands for. */
export function readFileWithType(file: string): { body: Buffer; contentType: string } {
  const contentType = mediaTypes[extname(file).toLowerCase()];
  if (!contentType) {
    const detail = t(
      `${file}: cần tệp .csv hoặc .xlsx (tệp .xls cũ: hãy lưu lại thành .xlsx).`,
      `${file}: a .csv or .xlsx file is needed (save an old .xls as .xlsx).`,
    );
    throw new UsageError(detail);
  }
  return { body: readLocalFile(file), contentType };
}

export function readLocalFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? '';
    throw new UsageError(t(`Không đọc được tệp ${file} (${reason}).`, `The file ${file} cannot be read (${reason}).`));
  }
}

/** Streams an answer into `file` ("-": standard output); a file is there as a whole or not at all. */
export async function saveAnswer(answer: Response, file: string, progress?: Progress): Promise<void> {
  if (!answer.body) throw new Error('the answer has no body');
  const source = Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]);
  let lines = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      for (const octet of chunk) if (octet === 10) lines += 1;
      progress?.update(lines, 0);
      done(null, chunk);
    },
  });
  if (file === '-') return pipeline(source, count, process.stdout, { end: false });
  const draft = `${file}.${process.pid}.part`;
  try {
    await pipeline(source, count, createWriteStream(draft, { mode: 0o600 }));
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}
