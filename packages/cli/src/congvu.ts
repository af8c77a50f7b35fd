#!/usr/bin/env node
/** The command line `congvu`: what IT admins do with the platform, over its API and with their own permissions. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Command, CommanderError } from 'commander';
import { exitCodes, reportFailure, UsageError } from './failure.ts';
import { chooseLanguage, t } from './language.ts';
import { note } from './output.ts';
import { createProgram } from './program.ts';

const args = process.argv.slice(2);
chooseLanguage(args, process.env);
const configDirectory = process.env.XDG_CONFIG_HOME || join(homedir(), '.config');
const credentialsFile = process.env.CONGVU_CREDENTIALS || join(configDirectory, 'congvu/credentials.json');

// What reads our output may stop reading, as `head` does; that is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.on('SIGINT', () => process.exit(130));

const program: Command = createProgram(credentialsFile);
try {
  await program.parseAsync(args, { from: 'user' });
} catch (error) {
  process.exitCode = exitCodeOf(error);
}

function exitCodeOf(error: unknown): number {
  // Help and version end this way too.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage;
  if (error instanceof UsageError) {
    note(`${t('Lỗi', 'Error')}: ${error.message}`);
    return exitCodes.usage;
  }
  return reportFailure(error, args.includes('--json'));
}
