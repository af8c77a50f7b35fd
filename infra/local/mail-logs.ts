/**
 * The logs of Postfix and Dovecot, from which the mailbox service counts who uses official mail. They lie apart: the services' user
 * may read these two and no other.
 */
import { chmodSync, chownSync, closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { State } from './state.ts';

type MailLog = 'postfix' | 'dovecot';

export const mailLogsOf = (state: State): Record<MailLog, string> => {
  const path = (name: MailLog): string => join(state.directory, 'mail-logs', `${name}.log`);
  return { postfix: path('postfix'), dovecot: path('dovecot') };
};

/** The log file of one of them, made if absent, for the services' user to read. @returns its path. */
export function openMailLog(state: State, name: MailLog): string {
  const directory = state.makeDirectory('mail-logs');
  const file = mailLogsOf(state)[name];
  closeSync(openSync(file, 'a', 0o600));
  const reader = state.account('congvu');
  if (!reader) return file;
  for (const [path, mode] of [
    [directory, 0o750],
    [file, 0o640],
  ] as const) {
    chownSync(path, 0, reader.gid);
    chmodSync(path, mode);
  }
  return file;
}
