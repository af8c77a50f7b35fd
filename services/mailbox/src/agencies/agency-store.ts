/** What this service asks of agencies alone, through the directory's view. */
import type { Connection } from '@congvu/database';

/** Whether the agency of that id, an SQL expression, is at or below the one of the code that is bound: for few, where `agency_subtree` is for many. */
export const isAtOrBelow = (agencyId: string): string =>
  `(select root.id from directory.agencies_v root where root.code = ?) = any(directory.agency_path(${agencyId}))`;

/** An agency at or below `scope` that exists today. */
export const findOpenAgency = (
  connection: Connection,
  code: string,
  scope: string,
): Promise<{ id: string; name: string; mail_domain: string } | undefined> =>
  connection('directory.agencies_v')
    .where({ code, status: 'active' })
    .whereRaw(isAtOrBelow('id'), [scope])
    .first('id', 'name', 'mail_domain');

export async function isRootAgency(connection: Connection, code: string): Promise<boolean> {
  const root = await connection('directory.agencies_v').where({ code }).whereNull('parent_code').first('id');
  return root !== undefined;
}
