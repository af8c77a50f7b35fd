/**
 * What a client may give to another: what it has itself, and the two roles that decide on nothing. And separation of duties: no
 * client both asks and approves. (That nobody approves what a client of the own making asked for, deciding on a request checks.)
 */
import { type Permission, roles } from '@congvu/contracts';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import type { Principal } from '@congvu/http';
import type { ClientRow } from './client-store.ts';

const isGrantable = (permission: string, giver: Principal): boolean =>
  giver.permissions.has(permission) ||
  (roles.requester as readonly string[]).includes(permission) ||
  (roles.auditor as readonly string[]).includes(permission);

export function checkPermissions(permissions: readonly Permission[], role: string | undefined, giver: Principal): void {
  const faults: Fault[] = [];
  permissions.forEach((permission, index) => {
    if (isGrantable(permission, giver)) return;
    const detail = `Your client does not have ${permission} and so cannot give it.`;
    const pointer = role === undefined ? `/permissions/${index}` : '/role';
    faults.push({ pointer, code: 'permission_not_grantable', detail });
  });
  if (permissions.includes('requests:submit') && permissions.includes('requests:approve')) {
    const detail = 'One client cannot hold both requests:submit and requests:approve.';
    faults.push({ pointer: '/permissions', code: 'separation_of_duties', detail });
  }
  if (faults.length > 0) throw invalid('client_invalid', faults);
}

/** Whoever could change a client that may do more, or learn its secret, could do more than was given to them. */
export function checkReach(client: ClientRow, changer: Principal): void {
  const beyond = client.permissions.filter((permission) => !isGrantable(permission, changer));
  if (beyond.length === 0) return;
  throw new ServiceError({
    kind: 'forbidden',
    code: 'client_beyond_reach',
    detail: `That client may do what yours may not (${beyond.join(', ')}); somebody who may has to change it.`,
  });
}
