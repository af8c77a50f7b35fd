/** One list as the API shows it, with those who run it and the lists in it. */
import type { GroupDetail } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import { requireGroup, toGroup } from './group-store.ts';
import { type AccountInGroup, listNested, listRole } from './member-store.ts';

export async function readGroup(connection: Connection, id: string, scope: string): Promise<GroupDetail> {
  const row = await requireGroup(connection, id, scope);
  return {
    ...toGroup(row),
    owners: (await listRole(connection, id, 'owner')).map(toPerson),
    moderators: (await listRole(connection, id, 'moderator')).map(toPerson),
    groups: (await listNested(connection, id)).map(({ posting: _, ...group }) => group),
  };
}

const toPerson = ({ id, address, display_name }: AccountInGroup) => ({
  accountId: id,
  address,
  displayName: display_name,
});
