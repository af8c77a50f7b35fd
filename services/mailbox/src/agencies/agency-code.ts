/** An agency code as people write it, made canonical; one out of form is the caller's fault, named by `pointer`. */
import { invalid } from '@congvu/errors';
import { parseAgencyCode } from '@congvu/vietnamese';

export function codeOf(input: string, pointer: string): string {
  const result = parseAgencyCode(input);
  if (result.ok) return result.code;
  throw invalid(
    'agency_code_invalid',
    result.faults.map((fault) => ({ pointer, ...fault })),
  );
}
