/** What a connected system may read: checked against the caller's own subtree, agency codes made canonical, nothing twice. */
import type { Connection } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import { parseAgencyCode } from '@congvu/vietnamese';
import { findAgenciesByCode } from '../agencies/agency-store.ts';

/** Whoever holds the secret of a system, or says what it reads, must be allowed all that it reads now. */
export async function requireScopesWithin(
  connection: Connection,
  scopes: readonly string[],
  callerAgencyCode: string,
): Promise<void> {
  const codes = [...new Set(scopes.flatMap((scope) => scope.split(':')[1] ?? []))];
  if ((await findAgenciesByCode(connection, codes, callerAgencyCode)).length === codes.length) return;
  throw new ServiceError({
    kind: 'forbidden',
    code: 'read_scopes_beyond',
    detail:
      'The system reads agencies that do not lie at or below yours; a client of an agency above all of them has to do this.',
  });
}

/** Throws `invalid` with every fault at once. */
export async function readScopesOf(
  connection: Connection,
  input: readonly string[],
  callerAgencyCode: string,
): Promise<string[]> {
  const parsed = input.map((text) => {
    const [what = '', code] = text.split(':');
    return { what, agency: code === undefined ? undefined : parseAgencyCode(code) };
  });
  const codes = parsed.flatMap(({ agency }) => (agency?.ok ? [agency.code] : []));
  const known = new Set((await findAgenciesByCode(connection, codes, callerAgencyCode)).map((row) => row.code));
  const faults: Fault[] = [];
  const scopes = parsed.map(({ what, agency }, index) => {
    if (!agency) return what;
    const pointer = `/readScopes/${index}`;
    if (!agency.ok) {
      faults.push(...agency.faults.map((fault) => ({ pointer, ...fault })));
      return what;
    }
    if (!known.has(agency.code)) {
      const detail = `There is no agency ${agency.code} at or below yours.`;
      faults.push({ pointer, code: 'agency_not_found', detail });
    }
    return `${what}:${agency.code}`;
  });
  if (faults.length > 0) throw invalid('request_invalid', faults);
  return [...new Set(scopes)].sort();
}
