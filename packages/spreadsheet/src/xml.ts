/**
 * XML of untrusted workbooks, piece by piece. A document type is refused, so there are no entities to expand; a single tag or
 * text may not be longer than any cell can hold, so memory does not depend on the document.
 */
import { ServiceError } from '@congvu/errors';
import { SaxesParser } from 'saxes';
import { malformed } from './sheet.ts';

type Attributes = Readonly<Record<string, string>>;

export interface XmlHandlers {
  /** `name` is without its namespace prefix; `end` is where in the text of the part the tag ends. */
  open?: (name: string, attributes: Attributes, tag: { prefix: string; end: number }) => void;
  text?: (text: string) => void;
  close?: (name: string, tag: { end: number }) => void;
}

/** Excel's longest cell has 32,767 characters; as XML each may take eight ("_x000D_" or an entity). */
const maxPiece = 512 * 1024;

export interface XmlReader {
  /** The handlers have seen everything that was written when this returns. Gives the text back that these octets were. */
  write: (chunk: Buffer) => string;
  /** Throws unless the document is complete. */
  end: () => string;
}

export function readXml(part: string, handlers: XmlHandlers): XmlReader {
  const parser = new SaxesParser({ position: true });
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let lastEvent = 0;
  parser.on('error', (error) => {
    throw error;
  });
  parser.on('doctype', () => {
    throw malformed('sheet_document_type', `${part} of the workbook declares a document type, which no sheet needs.`);
  });
  parser.on('opentag', (tag) => {
    lastEvent = parser.position;
    const colon = tag.name.indexOf(':');
    const prefix = tag.name.slice(0, colon + 1);
    handlers.open?.(tag.name.slice(colon + 1), tag.attributes as Attributes, { prefix, end: lastEvent });
  });
  if (handlers.text) parser.on('text', handlers.text);
  if (handlers.text) parser.on('cdata', handlers.text);
  parser.on('closetag', (tag) => {
    lastEvent = parser.position;
    handlers.close?.(tag.name.slice(tag.name.indexOf(':') + 1), { end: lastEvent });
  });
  const guarded = (work: () => string): string => {
    try {
      return work();
    } catch (error) {
      if (error instanceof ServiceError) throw error;
      const detail = `${part} of the workbook is damaged or not UTF-8; open the file in a spreadsheet program and save it anew.`;
      throw malformed('sheet_damaged', detail, error);
    }
  };
  return {
    write: (chunk) =>
      guarded(() => {
        const text = decoder.decode(chunk, { stream: true });
        parser.write(text);
        if (parser.position - lastEvent > maxPiece)
          throw malformed('sheet_damaged', `${part} of the workbook holds a text longer than any cell can be.`);
        return text;
      }),
    end: () =>
      guarded(() => {
        const text = decoder.decode();
        parser.write(text).close();
        return text;
      }),
  };
}

/** Reads a whole part. */
export async function readXmlPart(part: string, chunks: AsyncIterable<Buffer>, handlers: XmlHandlers): Promise<void> {
  const reader = readXml(part, handlers);
  for await (const chunk of chunks) reader.write(chunk);
  reader.end();
}
