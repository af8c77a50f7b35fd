/** How a command ends when it fails: an exit code that a script can act on, and a plain answer for people. */
import { ServiceError } from '@congvu/errors';
import { t } from './language.ts';
import { note } from './output.ts';

export const exitCodes = {
  failure: 1,
  usage: 2,
  notAllowed: 3,
  notFound: 4,
  invalid: 5,
  conflict: 6,
  unavailable: 7,
} as const;

const codeOfKind: Readonly<Record<ServiceError['kind'], number>> = {
  malformed: exitCodes.invalid,
  invalid: exitCodes.invalid,
  too_large: exitCodes.invalid,
  unauthenticated: exitCodes.notAllowed,
  forbidden: exitCodes.notAllowed,
  not_found: exitCodes.notFound,
  conflict: exitCodes.conflict,
  stale: exitCodes.conflict,
  rate_limited: exitCodes.unavailable,
  unavailable: exitCodes.unavailable,
};

/** Says what went wrong; the exit code. */
export function reportFailure(error: unknown, json: boolean): number {
  if (!(error instanceof ServiceError)) {
    const detail = error instanceof Error ? error.message : String(error);
    note(json ? JSON.stringify({ error: { code: 'failure', detail } }) : `${t('Lỗi', 'Error')}: ${detail}`);
    return exitCodes.failure;
  }
  const { code, detail, faults } = error;
  if (json) note(JSON.stringify({ error: { code, detail, errors: faults } }));
  else {
    note(`${t('Lỗi', 'Error')} (${code}): ${detail}`);
    for (const fault of faults) note(`  ${fault.pointer}: ${fault.detail}`);
  }
  return codeOfKind[error.kind];
}

/** A mistake in how the command was called. */
export class UsageError extends Error {}
