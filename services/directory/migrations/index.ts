/** The directory schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as draftsAndOperations } from './0002-drafts-and-operations.ts';
import { up as searchAuditRoles } from './0006-search-audit-roles.ts';

export const migrations: Migrations = {
  '0001-initial': initial,
  '0002-drafts-and-operations': draftsAndOperations,
  '0006-search-audit-roles': searchAuditRoles,
};
