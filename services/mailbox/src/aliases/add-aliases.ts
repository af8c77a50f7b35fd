/**
 * Gives many mailboxes further addresses in one request, such as the former ones after a merger of agencies: all of them or none, and
 * every fault of the list at once. What a mailbox has already stays as it is, so a list may be sent again, whole or corrected.
 */
import type { AddedAliases, MailAliasList } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { type Fault, invalid } from '@congvu/errors';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import { findDomain } from '../domains/domain-store.ts';
import { lockMailboxes, takeMailNames } from '../mailboxes/mailbox-store.ts';
import { queueMailboxes } from '../mailboxes/queue-mailboxes.ts';
import { findAliasFacts, findMailboxesAt, insertAliases, notReceiving } from './alias-store.ts';
import { type AliasPolicy, addressFaults, domainOf, endFaults, eventOf, takenFault } from './change-aliases.ts';

type Item = MailAliasList['items'][number];
type Mailbox = Awaited<ReturnType<typeof lockMailboxes>>[number] & { agencyId: string };

export async function addAliases(
  { database, domain: province }: AliasPolicy,
  { items }: MailAliasList,
  actor: Actor,
): Promise<AddedAliases> {
  return database.transaction(async (transaction) => {
    // 1. The mailboxes, and everything that is wrong with the list as it stands.
    const mailboxes = await lockNamed(transaction, items, actor);
    const { faults, isThere } = await checkList(transaction, items, mailboxes, province);
    if (faults.length > 0) throw invalid('aliases_invalid', faults);

    // 2. The names, which others may have or take at this moment; then the addresses.
    const wanted = items.flatMap(({ mailbox, address, validUntil = null }, index) => {
      if (isThere.has(index)) return [];
      return [{ index, address, validUntil, mailbox: required(mailboxes, mailbox) }];
    });
    const names = wanted.map(({ address, mailbox }) => ({ name: localPartOf(address), holder: mailbox.account_id }));
    const given = await takeMailNames(transaction, names);
    const inserted = await insertAliases(
      transaction,
      wanted
        .filter((_, nth) => given[nth])
        .map(({ address, validUntil, mailbox }) => {
          return { address, mailboxId: mailbox.account_id, validUntil, reason: 'by_hand', createdBy: actor.id };
        }),
    );
    const taken = wanted.filter(({ address }) => !inserted.has(address));
    if (taken.length > 0) {
      const faults = taken.map(({ index, address }) => ({
        pointer: `/items/${index}/address`,
        ...takenFault(address),
      }));
      throw invalid('aliases_invalid', faults);
    }

    // 3. The events, and the jobs.
    await recordEvents(
      transaction,
      wanted.map(({ address, validUntil, mailbox: { account_id, kind, agencyId } }) => {
        const facts = { mailbox_id: account_id, kind, agency_id: agencyId };
        return eventOf(actor, 'mailbox.alias_added', facts, null, { address, validUntil });
      }),
    );
    const kinds = new Map(wanted.map(({ mailbox }) => [mailbox.account_id, mailbox.kind]));
    await queueMailboxes(
      transaction,
      [...kinds].map(([id, kind]) => ({ id, kind })),
    );
    return { added: wanted.length, unchanged: isThere.size };
  });
}

/** By address; locked in the order of all that lock many. One that just got another address is not found under this one. */
async function lockNamed(
  transaction: Transaction,
  items: readonly Item[],
  actor: Actor,
): Promise<ReadonlyMap<string, Mailbox>> {
  const addresses = items.map(({ mailbox }) => mailbox);
  const found = await findMailboxesAt(transaction, addresses, actor.agencyCode);
  const agencies = new Map([...found.values()].map(({ id, agencyId }) => [id, agencyId]));
  const rows = await lockMailboxes(transaction, [...agencies.keys()]);
  return new Map(rows.map((row) => [row.address, { ...row, agencyId: agencies.get(row.account_id) as string }]));
}

/** `isThere` are the places of those that their mailboxes have already. */
async function checkList(
  connection: Connection,
  items: readonly Item[],
  mailboxes: ReadonlyMap<string, Mailbox>,
  province: string,
): Promise<{ faults: Fault[]; isThere: ReadonlySet<number> }> {
  const domains = await byKey(
    items.map(({ address }) => domainOf(address)),
    (name) => findDomain(connection, name),
  );
  const ends = await byKey(
    items.flatMap(({ validUntil }) => validUntil ?? []),
    (day) => endFaults(connection, day),
  );
  const known = await findAliasFacts(
    connection,
    items.map(({ address }) => address),
  );
  const faults: Fault[] = [];
  const isThere = new Set<number>();
  const first = new Map<string, number>();
  for (const [index, { mailbox: named, address, validUntil = null }] of items.entries()) {
    const at = (field: string, fault: Omit<Fault, 'pointer'>) =>
      faults.push({ ...fault, pointer: `/items/${index}/${field}` });
    const mailbox = mailboxes.get(named);
    const refusal = mailbox ? notReceiving(mailbox.state) : noMailbox(named);
    if (refusal) at('mailbox', refusal);

    const earlier = first.get(address);
    first.set(address, earlier ?? index);
    const alias = known.get(address);
    const isOpen = alias !== undefined && alias.ended_at === null;
    const isIts = mailbox !== undefined && alias?.mailbox_id === mailbox.account_id;
    if (earlier !== undefined) at('address', twice(address, earlier));
    else if (isIts && isOpen && alias.valid_until === validUntil) {
      isThere.add(index);
      continue; // whatever may be said of such an address by now
    } else if (isIts && isOpen) at('validUntil', otherEnd(address, alias.valid_until));
    else if (mailbox && (mailbox.address === address || (alias && !isIts))) at('address', takenFault(address));
    for (const fault of addressFaults(address, domains.get(domainOf(address)), province)) at('address', fault);
    for (const fault of (validUntil && ends.get(validUntil)) || []) at('validUntil', fault);
  }
  return { faults, isThere };
}

/** Each key asked of once. */
async function byKey<T>(keys: readonly string[], ask: (key: string) => Promise<T>): Promise<Map<string, T>> {
  const answers = new Map<string, T>();
  for (const key of new Set(keys)) answers.set(key, await ask(key));
  return answers;
}

const required = (mailboxes: ReadonlyMap<string, Mailbox>, address: string): Mailbox => {
  const mailbox = mailboxes.get(address);
  if (!mailbox) throw new Error('a mailbox that was found is not there any more');
  return mailbox;
};

const localPartOf = (address: string): string => address.slice(0, address.indexOf('@'));

const noMailbox = (address: string) => ({
  code: 'mailbox_not_found',
  detail: `There is no mailbox ${address} at or below your agency; name it by the address that it has now.`,
});
const twice = (address: string, earlier: number) => ({
  code: 'alias_twice',
  detail: `${address} stands in the list already, at /items/${earlier}.`,
});
const otherEnd = (address: string, validUntil: string | null) => ({
  code: 'alias_open',
  detail: `The mailbox has ${address} ${validUntil ? `until ${validUntil}` : 'without an end'} already; change that by itself, or name the same day.`,
});
