/**
 * Notices from templates (Liquid), in Vietnamese and English: subject, plain text, HTML. An administrator's folder overrides the built-in
 * files one by one and is read anew for each notice. What is wrong with a file of theirs holds up no notice: the built-in one takes its
 * place, and the fault is told. A template sees the facts of its notice and no file but those of its own language.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { NoticeKind, NoticeLanguage, type NoticeTemplate } from '@congvu/contracts';
import { type FilterImplOptions, Liquid } from 'liquidjs';
import { samples } from './facts.ts';

export interface NoticeText {
  subject: string;
  text: string;
  html: string;
}

type Part = keyof NoticeText;
const parts = ['subject', 'text', 'html'] as const satisfies readonly Part[];

export interface Templates {
  /** `faults` are those of the administrator's files, which were passed over. */
  render(kind: NoticeKind, language: NoticeLanguage, facts: object): Promise<NoticeText & { faults: string[] }>;
  /** Every template with its source, tried on samples, and the files in the administrator's folder that nothing reads. */
  check(): Promise<{ items: NoticeTemplate[]; unknownFiles: string[] }>;
}

export function openTemplates(overrideDirectory: string | undefined): Templates {
  async function renderPart(kind: NoticeKind, language: NoticeLanguage, part: Part, every: readonly object[]) {
    const names = filesOf(kind, part);
    const builtIn = await readFiles(builtInDirectory, language, names);
    const overriding = overrideDirectory ? await readOverrides(overrideDirectory, language, names) : noOverrides;
    const faults = [...overriding.faults];
    const own = fileName(kind, part);
    for (const files of combinations(overriding.files, own)) {
      try {
        const rendered = await renderAll(language, part, own, { ...builtIn, ...files }, every);
        return { rendered, overrides: Object.keys(files), faults };
      } catch (error) {
        const tried = Object.keys(files).map((name) => `${language}/${name}.liquid`);
        faults.push(`${tried.join(' in ')}: ${faultOf(error)}`);
      }
    }
    return { rendered: await renderAll(language, part, own, builtIn, every), overrides: [], faults };
  }

  return {
    render: async (kind, language, facts) => {
      const made = await Promise.all(parts.map((part) => renderPart(kind, language, part, [facts])));
      const [subject, text, html] = made.map(({ rendered }) => rendered[0]) as [string, string, string];
      return { subject, text, html, faults: made.flatMap(({ faults }) => faults) };
    },
    check: async () => {
      const items: NoticeTemplate[] = [];
      for (const language of NoticeLanguage.options) {
        for (const kind of NoticeKind.options) {
          const checked = [];
          for (const part of parts) {
            const { overrides, faults } = await renderPart(kind, language, part, samples[kind]);
            const file = fileName(kind, part);
            checked.push({
              part,
              file: `${language}/${file}.liquid`,
              source: overrides.includes(file) ? ('override' as const) : ('built_in' as const),
              fault: faults[0] ?? null,
            });
          }
          items.push({ kind, language, parts: checked });
        }
      }
      return { items, unknownFiles: overrideDirectory ? await unknownFiles(overrideDirectory) : [] };
    },
  };
}

const builtInDirectory = join(import.meta.dirname, '../../templates');
const fileName = (kind: NoticeKind, part: Part): string => `${kind}.${part}`;
/** The template itself first, then what it may lie in. */
const filesOf = (kind: NoticeKind, part: Part): string[] =>
  part === 'subject' ? [fileName(kind, part)] : [fileName(kind, part), `layout.${part}`];

/** What to try, best first: all of the administrator's files, then one of them alone, so that one that is broken takes no other along. */
function combinations(files: Record<string, string>, own: string): Record<string, string>[] {
  const { [own]: file, ...layout } = files;
  if (file === undefined || Object.keys(layout).length === 0) return Object.keys(files).length === 0 ? [] : [files];
  return [files, { [own]: file }, layout];
}

const mostOctets = 64 * 1024;
const noOverrides: { files: Record<string, string>; faults: string[] } = { files: {}, faults: [] };

async function readFiles(directory: string, language: NoticeLanguage, names: readonly string[]) {
  const read = await Promise.all(names.map((name) => readFile(join(directory, language, `${name}.liquid`), 'utf8')));
  return Object.fromEntries(names.map((name, index) => [name, read[index] as string]));
}

async function readOverrides(directory: string, language: NoticeLanguage, names: readonly string[]) {
  const files: Record<string, string> = {};
  const faults: string[] = [];
  for (const name of names) {
    try {
      const { size } = await stat(join(directory, language, `${name}.liquid`));
      if (size > mostOctets) throw new Error(`it has more than ${mostOctets} octets`);
      Object.assign(files, await readFiles(directory, language, [name]));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT')
        faults.push(`${language}/${name}.liquid: ${code ? `it cannot be read (${code})` : message}`);
    }
  }
  return { files, faults };
}

async function renderAll(
  language: NoticeLanguage,
  part: Part,
  name: string,
  files: Record<string, string>,
  every: readonly object[],
): Promise<string[]> {
  const engine = new Liquid({
    templates: files, // The only files that there are for it.
    strictVariables: true,
    strictFilters: true,
    ownPropertyOnly: true,
    parseLimit: 2 * mostOctets,
    renderLimit: 500,
    memoryLimit: 4 * 1024 * 1024,
    ...(part === 'html' && { outputEscape: 'escape' as const }),
  });
  for (const [filter, write] of Object.entries(filters[language])) engine.registerFilter(filter, write);
  const rendered = [];
  for (const facts of every) {
    const text = tidy(part, String(await engine.renderFile(name, facts)));
    if (text.trim() === '') throw new Error('nothing comes out of it');
    rendered.push(text);
  }
  return rendered;
}

const tidy = (part: Part, text: string): string => {
  if (part === 'subject') return text.replace(/\s+/g, ' ').trim().slice(0, 200);
  return part === 'text'
    ? `${text
        .replace(/[ \t]+$/gm, '')
        .replace(/\n{3,}/g, '\n\n')
        .trim()}\n`
    : text.trim();
};

/** The first line says what, in which file and where; the others quote the template. */
const faultOf = (error: unknown): string => (error as Error).message.split('\n', 1)[0]?.slice(0, 300) ?? 'broken';

function filtersIn(language: NoticeLanguage): Record<string, FilterImplOptions> {
  const locale = language === 'vi' ? 'vi-VN' : 'en-GB';
  const timeZone = 'Asia/Ho_Chi_Minh';
  const day = new Intl.DateTimeFormat(locale, { timeZone, day: '2-digit', month: '2-digit', year: 'numeric' });
  const clock = new Intl.DateTimeFormat(locale, { timeZone, hour: '2-digit', minute: '2-digit', hour12: false });
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const written = (time: string): Date => {
    const date = new Date(time);
    if (Number.isNaN(date.getTime())) throw new Error('this is not a time');
    return date;
  };
  return {
    /** 13/03/2026 */
    day: (time: string) => day.format(written(time)),
    /** 15:30 ngày 13/03/2026 */
    time: (time: string) =>
      `${clock.format(written(time))}${language === 'vi' ? ' ngày ' : ' on '}${day.format(written(time))}`,
    /** 14.800 */
    number: (value: number) => number.format(value),
  };
}

const filters = { vi: filtersIn('vi'), en: filtersIn('en') } satisfies Record<NoticeLanguage, object>;

/** Misspelt names, most likely: an override that overrides nothing. */
async function unknownFiles(directory: string): Promise<string[]> {
  const known = new Set([
    'layout.text.liquid',
    'layout.html.liquid',
    ...NoticeKind.options.flatMap((kind) => parts.map((part) => `${fileName(kind, part)}.liquid`)),
  ]);
  const unknown: string[] = [];
  for (const language of NoticeLanguage.options) {
    const names = await readdir(join(directory, language)).catch(() => []); // if it is there, its files tell what is wrong
    unknown.push(...names.filter((name) => !known.has(name)).map((name) => `${language}/${name}`));
  }
  return unknown.sort().slice(0, 100);
}
