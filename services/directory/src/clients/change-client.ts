/** Changes a client: its name, agency, role or end, or its secret, of which the old one is void at once. */
import { type Client, type ClientChange, permissionsOf } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Principal } from '@congvu/http';
import { requireAgency } from '../agencies/agency-store.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { hashClientSecret, newClientSecret } from './client-secret.ts';
import { type ClientRow, requireClientForUpdate, toClient, updateClient } from './client-store.ts';
import { checkExpiry, refuseTakenName } from './create-client.ts';
import { checkPermissions, checkReach } from './grantable.ts';

export async function changeClient(
  database: Database,
  id: string,
  change: ClientChange & { version?: number | undefined },
  changer: Principal,
  actor: Actor,
): Promise<Client> {
  checkExpiry(change.expiresAt);
  return refuseTakenName(
    database.transaction(async (transaction) => {
      const before = await requireOpenClient(transaction, id, changer);
      if (change.version !== undefined && change.version !== before.version) {
        throw new ServiceError({
          kind: 'stale',
          code: 'stale_version',
          detail: `The client is now at version ${before.version}; read it again before changing it.`,
        });
      }
      const permissions = permissionsOf(change);
      if (permissions) checkPermissions(permissions, change.role, changer);
      const { agencyCode = before.agency_code } = change;
      const agency = await requireAgency(transaction, agencyCode, changer.agencyCode);
      const after = await updateClient(transaction, id, {
        name: change.name ?? before.name,
        agency_code: agency.code,
        ...(permissions ? { permissions: [...permissions], role: change.role ?? null } : {}),
        ...(change.expiresAt === undefined ? {} : { expires_at: change.expiresAt }),
      });
      await insertEvents(transaction, [
        {
          actor,
          action: 'client.changed',
          subjectType: 'client',
          subjectId: id,
          agencyId: agency.id,
          before: shown(before),
          after: shown(after),
        },
      ]);
      return toClient(after);
    }),
  );
}

const shown = (row: ClientRow) => {
  const { name, agencyCode, role, permissions, expiresAt } = toClient(row);
  return { name, agencyCode, role, permissions, expiresAt };
};

/** Whoever is shown the secret counts as the client's maker: they cannot approve what it asks for. */
export async function renewSecret(
  database: Database,
  id: string,
  changer: Principal,
  actor: Actor,
): Promise<Client & { clientSecret: string }> {
  const clientSecret = newClientSecret();
  return database.transaction(async (transaction) => {
    const before = await requireOpenClient(transaction, id, changer);
    const agency = await requireAgency(transaction, before.agency_code, changer.agencyCode);
    const after = await updateClient(transaction, id, {
      secret_hash: hashClientSecret(clientSecret),
      created_by: changer.id,
    });
    await insertEvents(transaction, [
      {
        actor,
        action: 'client.secret_renewed',
        subjectType: 'client',
        subjectId: id,
        agencyId: agency.id,
        after: { name: before.name },
      },
    ]);
    return { ...toClient(after), clientSecret };
  });
}

async function requireOpenClient(transaction: Transaction, id: string, changer: Principal): Promise<ClientRow> {
  const client = await requireClientForUpdate(transaction, id, changer.agencyCode);
  checkReach(client, changer);
  if (client.disabled_at) {
    throw invalid('client_disabled', [
      { pointer: 'path/id', code: 'client_disabled', detail: 'That client is disabled for good; make another.' },
    ]);
  }
  return client;
}
