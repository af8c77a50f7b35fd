/** The agencies that the lines of a sheet may name: that of the request and those below it, by name (marks and case ignored) or code. */
import type { Connection } from '@congvu/database';
import { type AgencyRow, listTree } from '../agencies/agency-store.ts';
import { comparable } from './sheet-columns.ts';

export interface AgencyNames {
  byCode: (code: string) => readonly AgencyRow[];
  /** All of that name; those that are closed only when no other has it. */
  byName: (name: string) => readonly AgencyRow[];
}

export async function loadAgencyNames(connection: Connection, code: string): Promise<AgencyNames> {
  const agencies = await listTree(connection, code);
  const codes = new Map(agencies.map((agency) => [agency.code, agency]));
  const names = Map.groupBy(agencies, (agency) => comparable(agency.name));
  return {
    byCode: (wanted) => {
      const agency = codes.get(wanted);
      return agency ? [agency] : [];
    },
    byName: (name) => {
      const found = names.get(comparable(name)) ?? [];
      const open = found.filter((agency) => !hasClosed(agency));
      return open.length > 0 ? open : found;
    },
  };
}

export const hasClosed = ({ status }: AgencyRow): boolean => status !== 'active';

export const closedDetail = ({ code, status, valid_from, valid_to }: AgencyRow): string =>
  status === 'future'
    ? `The agency ${code} exists only from ${valid_from} on.`
    : `The agency ${code} closed on ${valid_to}.`;
