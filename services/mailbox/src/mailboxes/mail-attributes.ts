/** What LDAP says of mailboxes, for Postfix and Dovecot: the attributes of one, those of its rights and of its holder's absence included. */
import type { Connection } from '@congvu/database';
import type { Attributes } from '@congvu/ldap';
import type { MailRoutes } from '../aliases/forward-store.ts';
import type { MailboxRow } from './mailbox-store.ts';
import { listRights, listVacations } from './rights-store.ts';

export const mailAttributeNames = [
  'mail',
  'congvuMailStatus',
  'congvuMailQuotaBytes',
  'congvuMailAlias',
  'congvuMailForward',
  'congvuMailSender',
  'congvuVacationSubject',
  'congvuVacationText',
  'congvuVacationFrom',
  'congvuVacationUntil',
] as const;

/** What every mailbox has. */
export const basicAttributes = (mailbox: Pick<MailboxRow, 'address' | 'mail_status' | 'quota_bytes'>): Attributes => ({
  mail: [mailbox.address],
  congvuMailStatus: [mailbox.mail_status],
  congvuMailQuotaBytes: [mailbox.quota_bytes],
});

export const routeAttributes = ({ aliases, forwards }: MailRoutes): Attributes => ({
  congvuMailAlias: aliases,
  congvuMailForward: forwards,
});

/** Dovecot expands its own variables (%u …) in whatever it is given of a user, and takes two percent signs for one. */
const forDovecot = (text: string): string => text.replaceAll('%', '%%');

/** By mailbox: what only some have, none of it where there is nothing of the kind. */
export async function listFurtherAttributes(
  connection: Connection,
  mailboxIds: readonly string[],
): Promise<(id: string) => Attributes> {
  const senders = new Map<string, string[]>();
  for (const { mailboxId, address, rights, active } of await listRights(connection, mailboxIds)) {
    if (!active || !rights.includes('send_as')) continue;
    senders.set(mailboxId, [...(senders.get(mailboxId) ?? []), address]);
  }
  const vacations = new Map((await listVacations(connection, mailboxIds)).map((one) => [one.mailboxId, one]));
  return (id) => {
    const vacation = vacations.get(id);
    return {
      congvuMailSender: senders.get(id) ?? [],
      congvuVacationSubject: vacation ? [forDovecot(vacation.subject)] : [],
      congvuVacationText: vacation ? [forDovecot(vacation.text)] : [],
      congvuVacationFrom: vacation?.from ? [vacation.from] : [],
      congvuVacationUntil: vacation?.until ? [vacation.until] : [],
    };
  };
}
