/** What is the whole province's, domains and quota classes, is changed by clients that act for the province itself. */
import type { Connection } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { isRootAgency } from './agency-store.ts';

export async function requireRoot(connection: Connection, actor: Actor): Promise<void> {
  if (await isRootAgency(connection, actor.agencyCode)) return;
  throw new ServiceError({
    kind: 'forbidden',
    code: 'province_only',
    detail: 'This is the whole province’s: only a client of the province itself changes it.',
  });
}
