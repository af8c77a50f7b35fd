/**
 * The two languages of the command line. A text stands in both at the place where it is used, so that neither is forgotten.
 * Chosen by `--lang`, else by LC_ALL, LC_MESSAGES or LANG; Vietnamese unless they say otherwise.
 */
export type Language = 'vi' | 'en';

let language: Language = 'vi';

export function chooseLanguage(args: readonly string[], environment: NodeJS.ProcessEnv): void {
  const at = args.findIndex((arg) => arg === '--lang' || arg.startsWith('--lang='));
  const asked = at === -1 ? undefined : (args[at]?.split('=')[1] ?? args[at + 1]);
  const locale = environment.LC_ALL || environment.LC_MESSAGES || environment.LANG || '';
  language = (asked ?? locale).toLowerCase().startsWith('en') ? 'en' : 'vi';
}

/** The text in the chosen language. */
export const t = (vietnamese: string, english: string): string => (language === 'vi' ? vietnamese : english);

/** BCP 47. */
export const locale = (): string => (language === 'vi' ? 'vi-VN' : 'en-GB');
