/**
 * Makes a client: a program of an agency, with permissions. Nobody can give a subtree that they lack; permissions they can,
 * since who gives them to the requesters must not hold them himself.
 */
import { randomUUID } from 'node:crypto';
import { type Client, type Permission, roles } from '@congvu/contracts';
import { brokenConstraint, type Database } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import type { Principal } from '@congvu/http';
import { findAgenciesByCode, requireAgency } from '../agencies/agency-store.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { hashClientSecret, newClientSecret } from './client-secret.ts';
import { disableClient, findClient, insertClient, toClient } from './client-store.ts';

export interface NewClient {
  name: string;
  agencyCode: string;
  permissions: readonly Permission[];
}

export async function createClient(
  database: Database,
  input: NewClient,
  creator: Principal,
  actor: Actor,
): Promise<Client & { clientSecret: string }> {
  const agency = await requireAgency(database, input.agencyCode, creator.agencyCode);
  checkPermissions(input.permissions, creator);
  const id = randomUUID();
  const clientSecret = newClientSecret();
  try {
    await database.transaction(async (transaction) => {
      await insertClient(transaction, {
        id,
        name: input.name,
        agency_code: agency.code,
        permissions: [...input.permissions],
        secret_hash: hashClientSecret(clientSecret),
        created_by: creator.id,
      });
      const after = { name: input.name, agencyCode: agency.code, permissions: input.permissions };
      await insertEvents(transaction, [
        { actor, action: 'client.created', subjectType: 'client', subjectId: id, agencyId: agency.id, after },
      ]);
    });
  } catch (error) {
    if (brokenConstraint(error) !== 'clients_name_unique') throw error;
    throw new ServiceError({
      kind: 'conflict',
      code: 'client_name_taken',
      detail: 'There is a client of that name already.',
      cause: error,
    });
  }
  const row = await findClient(database, id);
  if (!row) throw new Error('a client that was just made is not there');
  return { ...toClient(row), clientSecret };
}

/**
 * What may be given: what the giver has, and the two roles that decide on nothing. And separation of duties: no client both
 * asks and approves. (That nobody approves what a client of the own making asked for, deciding on a request checks.)
 */
function checkPermissions(permissions: readonly Permission[], creator: Principal): void {
  const faults: Fault[] = [];
  const grantable = new Set<string>([...creator.permissions, ...roles.requester, ...roles.auditor]);
  permissions.forEach((permission, index) => {
    if (grantable.has(permission)) return;
    const detail = `Your client does not have ${permission} and so cannot give it.`;
    faults.push({ pointer: `/permissions/${index}`, code: 'permission_not_grantable', detail });
  });
  if (permissions.includes('requests:submit') && permissions.includes('requests:approve')) {
    const detail = 'One client cannot hold both requests:submit and requests:approve.';
    faults.push({ pointer: '/permissions', code: 'separation_of_duties', detail });
  }
  if (faults.length > 0) throw invalid('client_invalid', faults);
}

export async function revokeClient(database: Database, id: string, creator: Principal, actor: Actor): Promise<void> {
  const client = await findClient(database, id);
  if (!client) throw clientNotFound();
  const [agency] = await findAgenciesByCode(database, [client.agency_code], creator.agencyCode);
  if (!agency) throw clientNotFound();
  await database.transaction(async (transaction) => {
    if (!(await disableClient(transaction, id))) return;
    await insertEvents(transaction, [
      {
        actor,
        action: 'client.disabled',
        subjectType: 'client',
        subjectId: id,
        agencyId: agency.id,
        after: { name: client.name },
      },
    ]);
  });
}

const clientNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'client_not_found',
    detail: 'There is no client of that id at or below your agency.',
  });
