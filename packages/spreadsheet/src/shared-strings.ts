/**
 * The texts that the cells of a workbook share. Kept as octets side by side and not as strings: hundreds of thousands of
 * small strings would cost many times what they say.
 */

import { type Limits, malformed, tooLarge } from './sheet.ts';
import type { Container } from './workbook.ts';
import { readXmlPart } from './xml.ts';

export type SharedStrings = (index: number) => string;

const blockBytes = 1024 * 1024;

export async function readSharedStrings(
  container: Container,
  path: string | undefined,
  limits: Limits,
): Promise<SharedStrings> {
  const blocks: Buffer[] = [];
  /** Where each block begins. */
  const starts: number[] = [];
  // Where each text begins, as its distance from the first octet of the first block; and, last, where the next would.
  let offsets = new Float64Array(1024);
  let count = 0;
  let end = 0;
  const add = (text: string): void => {
    const length = Buffer.byteLength(text);
    if (end + length > limits.maxSharedTextBytes)
      throw tooLarge('sheet_text', `The sheet holds more than ${limits.maxSharedTextBytes / 1_048_576} MiB of text.`);
    // A text lies in one block: the rest of a block that is too short for it stays empty, and a long one gets its own.
    const block = blocks.at(-1);
    const used = block ? end - (starts.at(-1) as number) : 0;
    if (!block || used + length > block.length) {
      starts.push(end);
      blocks.push(Buffer.allocUnsafe(Math.max(blockBytes, length)));
    }
    (blocks.at(-1) as Buffer).write(text, end - (starts.at(-1) as number));
    if (count + 2 > offsets.length) {
      const larger = new Float64Array(offsets.length * 2);
      larger.set(offsets);
      offsets = larger;
    }
    offsets[count] = end;
    end += length;
    count += 1;
    offsets[count] = end;
  };

  if (path) {
    let text = '';
    let inText = false;
    let phonetic = 0;
    await readXmlPart('The texts', container.read(path), {
      open: (name) => {
        if (name === 'si') text = '';
        else if (name === 'rPh') phonetic += 1;
        else if (name === 't') inText = phonetic === 0;
      },
      text: (piece) => {
        if (inText) text += piece;
      },
      close: (name) => {
        if (name === 't') inText = false;
        else if (name === 'rPh') phonetic -= 1;
        else if (name === 'si') add(unescapeText(text));
      },
    });
  }
  return (index) => {
    if (!Number.isInteger(index) || index < 0 || index >= count)
      throw malformed('sheet_damaged', 'A cell of the sheet names a text that the workbook does not hold.');
    const from = offsets[index] as number;
    const block = findBlock(starts, from);
    const start = starts[block] as number;
    return (blocks[block] as Buffer).toString('utf8', from - start, (offsets[index + 1] as number) - start);
  };
}

/** The last block that begins at or before `offset`. An empty text may stand where the next block begins: either will do. */
function findBlock(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] as number) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** ECMA-376 part 1, 22.9.2.19: characters that XML cannot hold stand as _xHHHH_. */
export const unescapeText = (text: string): string =>
  text.includes('_x')
    ? text.replace(/_x([0-9A-Fa-f]{4})_/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    : text;
