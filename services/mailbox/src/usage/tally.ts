/**
 * Adds up what a stretch of a log says. Pure: what is still to be understood by later lines (`underWay`, `recent`) comes in and goes
 * out, so that a log gives the same counts in whatever stretches it is read.
 */
import { dayInVietnam } from '@congvu/vietnamese';
import type { LogEvent } from './log-lines.ts';

/** A message in the queue: who handed it in, until that is counted; and the addresses that it has been counted for. */
export interface UnderWay {
  sender: string | undefined;
  addresses: Set<string>;
}

export interface MailboxCount {
  address: string;
  /** In Việt Nam. */
  day: string;
  received: number;
  sent: number;
  lastReceivedAt: Date | null;
  lastSentAt: Date | null;
  lastLoginAt: Date | null;
}

export interface AddressUse {
  address: string;
  day: string;
  uses: number;
  lastUsedAt: Date;
}

export interface Tally {
  mailboxes: MailboxCount[];
  addresses: AddressUse[];
  recent: string[];
}

/** Copies of one delivery are told of in lines that follow each other; so many are looked back on. */
const lookBack = 200;

/** @param underWay is changed to what it is afterwards. */
export function tally(events: readonly LogEvent[], underWay: Map<string, UnderWay>, recent: readonly string[]): Tally {
  const mailboxes = new Map<string, MailboxCount>();
  const addresses = new Map<string, AddressUse>();
  const deliveries = new Set(recent);
  for (const event of events) {
    switch (event.kind) {
      case 'login': {
        const count = countOf(mailboxes, event.address, event.at);
        count.lastLoginAt = later(count.lastLoginAt, event.at);
        break;
      }
      case 'submitted':
        // A queue id is given again once its message has left, so what was known of it is another's.
        underWay.set(event.queueId, { sender: event.sender, addresses: new Set() });
        break;
      case 'queued': {
        const message = underWay.get(event.queueId);
        if (!message?.sender) break;
        const count = countOf(mailboxes, message.sender, event.at);
        count.sent += 1;
        count.lastSentAt = later(count.lastSentAt, event.at);
        message.sender = undefined;
        break;
      }
      case 'passed':
        countAddressed(addresses, underWay, event);
        break;
      case 'delivered': {
        countAddressed(addresses, underWay, event);
        const copy = `${event.queueId} ${event.transaction} ${event.to}`;
        if (deliveries.has(copy)) break;
        deliveries.add(copy);
        const count = countOf(mailboxes, event.to, event.at);
        count.received += 1;
        count.lastReceivedAt = later(count.lastReceivedAt, event.at);
        break;
      }
      case 'left':
        underWay.delete(event.queueId);
    }
  }
  return {
    mailboxes: [...mailboxes.values()],
    addresses: [...addresses.values()],
    recent: [...deliveries].slice(-lookBack),
  };
}

/** Mail that was written to another address than it went to is one use of that, however many copies it makes. */
function countAddressed(
  addresses: Map<string, AddressUse>,
  underWay: Map<string, UnderWay>,
  { queueId, at, to, addressed }: { queueId: string; at: Date; to: string; addressed: string | undefined },
): void {
  if (addressed === undefined || addressed === to) return;
  const message = underWay.get(queueId) ?? { sender: undefined, addresses: new Set() };
  underWay.set(queueId, message);
  if (message.addresses.has(addressed)) return;
  message.addresses.add(addressed);
  countUse(addresses, addressed, at);
}

function countOf(counts: Map<string, MailboxCount>, address: string, at: Date): MailboxCount {
  const day = dayInVietnam(at);
  const key = `${day} ${address}`;
  const known = counts.get(key);
  if (known) return known;
  const made = { address, day, received: 0, sent: 0, lastReceivedAt: null, lastSentAt: null, lastLoginAt: null };
  counts.set(key, made);
  return made;
}

function countUse(uses: Map<string, AddressUse>, address: string, at: Date): void {
  const day = dayInVietnam(at);
  const key = `${day} ${address}`;
  const known = uses.get(key);
  if (!known) uses.set(key, { address, day, uses: 1, lastUsedAt: at });
  else {
    known.uses += 1;
    known.lastUsedAt = later(known.lastUsedAt, at) ?? at;
  }
}

const later = (one: Date | null, other: Date): Date => (one && one > other ? one : other);
