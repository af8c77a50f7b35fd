/**
 * Makes a client, a program of an agency, with a role or with permissions, and disables it. Nobody can give a subtree that they
 * lack; the permissions of the requesters they can, since who gives them must not hold them himself.
 */
import { randomUUID } from 'node:crypto';
import type { Client, Permission, Role } from '@congvu/contracts';
import { brokenConstraint, type Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Principal } from '@congvu/http';
import { findAgenciesByCode, requireAgency } from '../agencies/agency-store.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { hashClientSecret, newClientSecret } from './client-secret.ts';
import { disableClient, insertClient, requireClientForUpdate, toClient } from './client-store.ts';
import { checkPermissions, checkReach } from './grantable.ts';

export interface NewClient {
  name: string;
  agencyCode: string;
  role?: Role | undefined;
  permissions: readonly Permission[];
  expiresAt?: string | null | undefined;
}

export async function createClient(
  database: Database,
  input: NewClient,
  creator: Principal,
  actor: Actor,
): Promise<Client & { clientSecret: string }> {
  const agency = await requireAgency(database, input.agencyCode, creator.agencyCode);
  checkPermissions(input.permissions, input.role, creator);
  checkExpiry(input.expiresAt);
  const id = randomUUID();
  const clientSecret = newClientSecret();
  const { name, role = null, permissions, expiresAt = null } = input;
  const row = await refuseTakenName(
    database.transaction(async (transaction) => {
      const after = { name, agencyCode: agency.code, role, permissions, expiresAt };
      await insertEvents(transaction, [
        { actor, action: 'client.created', subjectType: 'client', subjectId: id, agencyId: agency.id, after },
      ]);
      return insertClient(transaction, {
        id,
        name,
        agency_code: agency.code,
        role,
        permissions: [...permissions],
        secret_hash: hashClientSecret(clientSecret),
        created_by: creator.id,
        expires_at: expiresAt === null ? null : new Date(expiresAt),
      });
    }),
  );
  return { ...toClient(row), clientSecret };
}

export function checkExpiry(expiresAt: string | null | undefined): void {
  if (!expiresAt || Date.parse(expiresAt) > Date.now()) return;
  const detail = 'The client would have ended before it began; give a time to come.';
  throw invalid('client_invalid', [{ pointer: '/expiresAt', code: 'past', detail }]);
}

export async function refuseTakenName<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (brokenConstraint(error) !== 'clients_name_unique') throw error;
    throw new ServiceError({
      kind: 'conflict',
      code: 'client_name_taken',
      detail: 'There is a client of that name already.',
      cause: error,
    });
  }
}

export async function revokeClient(database: Database, id: string, revoker: Principal, actor: Actor): Promise<void> {
  await database.transaction(async (transaction) => {
    const client = await requireClientForUpdate(transaction, id, revoker.agencyCode);
    checkReach(client, revoker);
    if (!(await disableClient(transaction, id))) return;
    const [agency] = await findAgenciesByCode(transaction, [client.agency_code], revoker.agencyCode);
    await insertEvents(transaction, [
      {
        actor,
        action: 'client.disabled',
        subjectType: 'client',
        subjectId: id,
        agencyId: agency?.id ?? null,
        after: { name: client.name },
      },
    ]);
  });
}
