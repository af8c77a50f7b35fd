/** What in the record stands against lines: people who have accounts already, or wait in another request. */
import type { Connection } from '@congvu/database';
import type { LineToCheck } from './line-store.ts';
import { findTakenNationalIds } from './request-store.ts';

export interface Obstacle {
  lineNumber: number;
  field: 'nationalId' | 'agencyCode' | 'toAgencyCode' | 'title' | 'account';
  code: string;
  detail: string;
}

export async function findObstacles(
  connection: Connection,
  _request: { id: string | null; agencyCode: string },
  lines: readonly LineToCheck[],
): Promise<Obstacle[]> {
  const taken = await findTakenNationalIds(
    connection,
    lines.flatMap((line) => line.nationalIdHash ?? []),
  );
  return lines.flatMap((line) => {
    const holder = line.nationalIdHash && taken.get(line.nationalIdHash.toString('hex'));
    if (!holder) return [];
    const detail =
      holder === 'account'
        ? 'The person with this identity number has an account already; ask for its transfer instead.'
        : 'Another request for the person with this identity number waits for its decision.';
    return [{ lineNumber: line.lineNumber, field: 'nationalId' as const, code: `person_has_${holder}`, detail }];
  });
}
