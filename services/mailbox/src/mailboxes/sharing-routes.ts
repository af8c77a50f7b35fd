/** Who else may use a mailbox, and what it answers while its holder is away. */
import { GivenRights, MailboxRights, Vacation } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { client, type Route, type RouteContext, route } from '@congvu/http';
import { z } from 'zod';
import { actorOf } from '../audit/audit-event.ts';
import { changeRights, changeVacation } from './change-rights.ts';
import { requireMailbox } from './mailbox-store.ts';
import { listRights, listVacations } from './rights-store.ts';

const ById = z.object({ accountId: z.uuid() });
const ByHolder = z.object({ accountId: z.uuid(), holderId: z.uuid() });
const RightsList = z.object({ items: z.array(MailboxRights) });
const VacationAnswer = z.object({ vacation: Vacation.nullable() });

export function sharingRoutes({ database }: { database: Database }): Route[] {
  const ref = (context: RouteContext<{ accountId: string }>) => ({
    id: context.params.accountId,
    version: context.ifMatchVersion,
  });
  const rightsOf = async (context: RouteContext<{ accountId: string }>) => {
    const mailbox = await requireMailbox(database, context.params.accountId, client(context).agencyCode);
    const items = await listRights(database, [mailbox.accountId]);
    return { body: { items: items.map(({ mailboxId: _, ...rights }) => rights) } };
  };
  const vacationOf = async (context: RouteContext<{ accountId: string }>) => {
    const mailbox = await requireMailbox(database, context.params.accountId, client(context).agencyCode);
    const [found] = await listVacations(database, [mailbox.accountId]);
    if (!found) return { body: { vacation: null } };
    const { mailboxId: _, ...vacation } = found;
    return { body: { vacation } };
  };
  return [
    route({
      method: 'get',
      path: '/v1/mailboxes/{accountId}/rights',
      summary: 'Who else may read, write or send as this mailbox',
      permission: 'mailboxes:read',
      params: ById,
      response: RightsList,
      handle: rightsOf,
    }),
    route({
      method: 'put',
      path: '/v1/mailboxes/{accountId}/rights/{holderId}',
      summary: 'Says anew what a person may do with a shared mailbox, or that of a position or an agency',
      description:
        'Who writes reads too. The person finds it in the own mail program below shared/, without another password. Rights rest while either mailbox is not active, and follow a changed address.',
      permission: 'mailboxes:write',
      params: ByHolder,
      body: z.strictObject({ rights: GivenRights }),
      response: RightsList,
      handle: async (context) => {
        await changeRights(database, ref(context), context.params.holderId, context.body.rights, actorOf(context));
        return rightsOf(context);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/mailboxes/{accountId}/rights/{holderId}',
      summary: 'Takes all rights on this mailbox from a person, whose sessions end',
      permission: 'mailboxes:write',
      params: ByHolder,
      response: RightsList,
      handle: async (context) => {
        await changeRights(database, ref(context), context.params.holderId, [], actorOf(context));
        return rightsOf(context);
      },
    }),
    route({
      method: 'get',
      path: '/v1/mailboxes/{accountId}/vacation',
      summary: 'What is answered while the holder is away',
      permission: 'mailboxes:read',
      params: ById,
      response: VacationAnswer,
      handle: vacationOf,
    }),
    route({
      method: 'put',
      path: '/v1/mailboxes/{accountId}/vacation',
      summary: 'Says what is answered while the holder is away, from a day until a day',
      description:
        'Once a day to each sender whose message names the mailbox among its recipients; never to lists, robots and bounces. The holder can do the same by a Sieve script of their own.',
      permission: 'mailboxes:write',
      params: ById,
      body: Vacation,
      response: VacationAnswer,
      handle: async (context) => {
        await changeVacation(database, ref(context), context.body, actorOf(context));
        return vacationOf(context);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/mailboxes/{accountId}/vacation',
      summary: 'Nothing is answered any more',
      permission: 'mailboxes:write',
      params: ById,
      response: VacationAnswer,
      handle: async (context) => {
        await changeVacation(database, ref(context), undefined, actorOf(context));
        return vacationOf(context);
      },
    }),
  ];
}
