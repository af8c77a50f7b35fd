/** Makes a list by hand: with an address that nobody had before, and at least one owner. The same Idempotency-Key never makes two. */
import { createHash, randomUUID } from 'node:crypto';
import type { GroupInput } from '@congvu/contracts';
import { brokenConstraint, type Database, type Transaction } from '@congvu/database';
import { invalid, keyReused, ServiceError } from '@congvu/errors';
import { isLocalPart, isReservedLocalPart, searchKey } from '@congvu/vietnamese';
import { codeOf } from '../agencies/agency-code.ts';
import type { Actor } from '../audit/audit-event.ts';
import { bringDomains } from '../domains/converge-domains.ts';
import { takeMailName } from '../mailboxes/mailbox-store.ts';
import { recordGroupEvents } from './group-event.ts';
import { findByIdempotencyKey, insertGroup, requireOpenAgency } from './group-store.ts';
import { insertRole, requireAccounts } from './member-store.ts';

export async function createGroup(
  { database, domain }: { database: Database; domain: string },
  input: GroupInput,
  actor: Actor,
  idempotencyKey: string | undefined,
): Promise<{ created: boolean; id: string }> {
  // 1. The same key again: the same list, or a conflict when it is not the same request.
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  const findRepeated = async (): Promise<{ created: false; id: string } | undefined> => {
    const repeated = idempotencyKey && (await findByIdempotencyKey(database, actor.id, idempotencyKey));
    if (!repeated) return undefined;
    if (!repeated.body_hash.equals(bodyHash)) throw keyReused();
    return { created: false, id: repeated.id };
  };
  const repeated = await findRepeated();
  if (repeated) return repeated;

  // 2. Its name, its agency, its owners; then the list.
  checkLocalPart(input.localPart);
  const repeat = { clientId: actor.id, idempotencyKey: idempotencyKey ?? null, bodyHash };
  try {
    return {
      created: true,
      id: await database.transaction((transaction) => insert(transaction, domain, input, actor, repeat)),
    };
  } catch (error) {
    const isTaken = brokenConstraint(error) === 'groups_local_part_unique';
    const sent = isTaken || error instanceof ServiceError || brokenConstraint(error) === 'groups_idempotency_unique';
    const now = sent && (await findRepeated()); // Sent twice at once, of which one was taken a moment ago.
    if (now) return now;
    throw isTaken ? addressTaken() : error;
  }
}

async function insert(
  transaction: Transaction,
  province: string,
  input: GroupInput,
  actor: Actor,
  repeat: { clientId: string; idempotencyKey: string | null; bodyHash: Buffer },
): Promise<string> {
  const { localPart, name, posting, memberRule } = input;
  const scope = actor.agencyCode;
  const agency = await requireOpenAgency(transaction, codeOf(input.agencyCode, '/agencyCode'), scope, '/agencyCode');
  const at = '/memberRule/agencyCode';
  const ruleAgency = memberRule && (await requireOpenAgency(transaction, codeOf(memberRule.agencyCode, at), scope, at));
  const ownerIds = [...new Set(input.ownerIds)];
  await requireAccounts(transaction, ownerIds, scope);
  const id = randomUUID();
  const address = `${localPart}@${agency.mail_domain}`;
  const rule = { ruleAgencyId: ruleAgency?.id ?? null, ruleTitle: memberRule?.title ?? null };
  const key = searchKey(`${name} ${address}`);
  const group = { id, kind: 'hand_made' as const, localPart, address, name, searchKey: key, posting };
  await insertGroup(transaction, { ...group, agencyId: agency.id, ...rule, repeat });
  await bringDomains(transaction, province, [agency.mail_domain]);
  for (const ownerId of ownerIds) await insertRole(transaction, id, 'owner', ownerId);
  const after = { address, name, posting, memberRule: memberRule ?? null, ownerIds };
  await recordGroupEvents(
    transaction,
    [{ action: 'group.created', group: { id, agency_id: agency.id }, after }],
    actor,
  );
  // Last, because names are given one after the other in the whole province.
  if (!(await takeMailName(transaction, localPart, id))) throw addressTaken();
  return id;
}

function checkLocalPart(localPart: string): void {
  if (isLocalPart(localPart)) return;
  const detail = isReservedLocalPart(localPart)
    ? `"${localPart}" is reserved; choose another.`
    : 'Small letters, digits, dots and hyphens, a letter or digit at both ends, never two dots together, at most 64.';
  const code = isReservedLocalPart(localPart) ? 'local_part_reserved' : 'format';
  throw invalid('group_invalid', [{ pointer: '/localPart', code, detail }]);
}

const addressTaken = (): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'address_taken',
    detail: 'Somebody or something has, or had, that name before the @, in whichever domain; choose another.',
  });
