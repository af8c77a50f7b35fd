/** Keys that are certified no more. */
import { CompromisedKey, CompromisedKeyInput } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { client, type Route, route } from '@congvu/http';
import { actorOf } from '../enrolments/routes.ts';
import { reportCompromisedKey } from './report-compromised-key.ts';

export const compromisedKeyRoutes = (database: Database): Route[] => [
  route({
    method: 'post',
    path: '/v1/compromised-keys',
    summary: 'Reports a key that others know; it is certified no more',
    description:
      'Revocation with the reason keyCompromise does the same by itself. The answer names the certificates of the key, which are revoked.',
    permission: 'certificates:revoke',
    body: CompromisedKeyInput,
    maxBodyBytes: 32 * 1024,
    status: 201,
    response: CompromisedKey,
    handle: async (context) => {
      const actor = { ...actorOf(context), agencyCode: client(context).agencyCode };
      return { body: await reportCompromisedKey(database, context.body, actor) };
    },
  }),
];
