/** What this service asks of agencies alone, through the directory's view. */
import type { Connection } from '@congvu/database';

/** An agency at or below `scope` that exists today. */
export const findOpenAgency = (
  connection: Connection,
  code: string,
  scope: string,
): Promise<{ id: string; name: string; mail_domain: string } | undefined> =>
  connection('directory.agencies_v')
    .where({ code, status: 'active' })
    .whereRaw('id in (select directory.agency_subtree(?))', [scope])
    .first('id', 'name', 'mail_domain');

export async function isRootAgency(connection: Connection, code: string): Promise<boolean> {
  const root = await connection('directory.agencies_v').where({ code }).whereNull('parent_code').first('id');
  return root !== undefined;
}
