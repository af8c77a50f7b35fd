/**
 * CSRs of many enrolments at once, as lines of JSON: each succeeds or fails by itself, and the answer has one line for each in the same
 * order. A few are at work at a time; an answer that was lost is had again by sending the same lines.
 */
import { ServiceError } from '@congvu/errors';
import { z } from 'zod';
import { toPem } from '../authority/certificate.ts';
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import type { Scope } from '../certificates/certificate-store.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { submitCsr } from './submit-csr.ts';

const CsrLine = z.strictObject({ enrolmentId: z.uuid(), csr: z.string().max(20_000) });
const atOnce = 32;

export async function* submitCsrs(
  dependencies: EnrolmentDependencies,
  text: string,
  scope: Scope,
  actor: SystemOrActor,
  log: (error: unknown) => void,
): AsyncGenerator<string> {
  const answers: Promise<string>[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    answers.push(
      answerTo(dependencies, line, scope, actor, log).then(
        (answer) => `${JSON.stringify({ line: index + 1, ...answer })}\n`,
      ),
    );
    if (answers.length >= atOnce) yield await answers.shift()!;
  }
  for (const answer of answers) yield await answer;
}

/** Never throws: of a fault of ours the line says no more than that. */
async function answerTo(
  dependencies: EnrolmentDependencies,
  line: string,
  scope: Scope,
  actor: SystemOrActor,
  log: (error: unknown) => void,
): Promise<object> {
  try {
    const { enrolmentId, csr } = readLine(line);
    const { serialNumber, certificate, ignoredSubject } = await submitCsr(dependencies, enrolmentId, csr, scope, actor);
    return {
      enrolmentId,
      serialNumber: serialNumber.toString('hex'),
      certificate: toPem('CERTIFICATE', certificate),
      ignoredSubject,
    };
  } catch (error) {
    if (error instanceof ServiceError) return { code: error.code, detail: error.detail };
    log(error);
    return { code: 'internal', detail: 'This line failed by a fault of ours; send it again.' };
  }
}

function readLine(line: string): z.infer<typeof CsrLine> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw malformed('The line is no JSON.');
  }
  const read = CsrLine.safeParse(value);
  if (read.success) return read.data;
  throw malformed(read.error.issues.map((issue) => `${issue.path.join('.') || 'line'}: ${issue.message}`).join(' '));
}

const malformed = (detail: string): ServiceError =>
  new ServiceError({ kind: 'invalid', code: 'line_malformed', detail });
