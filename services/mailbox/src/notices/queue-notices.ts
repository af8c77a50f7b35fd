/** Puts notices on record together with the fact that they tell of, and queues their sending, in the caller's transaction. */
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { accountFacts, listNoticeAccounts } from './facts-store.ts';
import { identityOf, listStranded, type NewNotice, noticeJob, saveNotices } from './notice-store.ts';

const crowd = 20;

/** Those that were on record already are not queued again. The letters of a crowd go one after the other. */
export async function queueNotices(transaction: Transaction, notices: readonly NewNotice[]): Promise<void> {
  const added = await saveNotices(transaction, notices);
  const line = added.length > crowd ? { queue: 'letters' } : {};
  await addJobs(
    transaction,
    'mailbox',
    added.filter((row) => row.state === 'waiting').map((row) => ({ ...noticeJob(identityOf(row)), ...line })),
  );
}

const batch = 500;

/** A job has so many attempts and no more; a notice is on record until it is sent. Asked each hour. */
export async function queueStranded(database: Database, signal?: AbortSignal): Promise<void> {
  let after: string | undefined;
  do {
    const rows = await listStranded(database, batch, after);
    await addJobs(
      database,
      'mailbox',
      rows.map((row) => ({ ...noticeJob(identityOf(row)), queue: 'letters' })),
    );
    after = rows.length === batch ? rows.at(-1)?.id : undefined;
  } while (after !== undefined && !signal?.aborted);
}

/** A mailbox of an account whose state was just recorded; `version` is the account's. */
export interface RecordedState {
  accountId: string;
  version: number;
  from: string;
  to: string;
  /** Whether it was ever in use. */
  wasProvisioned: boolean;
  /** Whether a letter to the holder would arrive. */
  takesMail: boolean;
}

/** Suspension and resumption, to the holder and to the agency. */
export async function queueStateNotices(transaction: Transaction, states: readonly RecordedState[]): Promise<void> {
  const told = new Map(
    states.flatMap((state) => {
      const kind = kindOf(state);
      return kind
        ? [[state.accountId, { kind, occasion: `v${state.version}`, takesMail: state.takesMail }] as const]
        : [];
    }),
  );
  if (told.size === 0) return;
  const notices: NewNotice[] = [];
  for (const account of await listNoticeAccounts(transaction, [...told.keys()])) {
    const { kind, occasion, takesMail } = told.get(account.id) as NonNullable<ReturnType<typeof told.get>>;
    const to = {
      ...(takesMail && { holder: account.address }),
      ...(account.agencyAddress !== account.address && { agency: account.agencyAddress }),
    };
    for (const [addressee, recipient] of Object.entries(to)) {
      if (recipient === null) continue;
      const toHolder = addressee === 'holder';
      const ends = {
        toHolder,
        reason: toHolder ? null : account.suspensionReason,
        until: account.suspendedUntil?.toISOString() ?? null,
      };
      const facts = { ...accountFacts(account), ...(kind === 'suspension' && ends) };
      notices.push({ kind, subjectId: account.id, occasion, addressee, recipient, agencyId: account.agencyId, facts });
    }
  }
  await queueNotices(transaction, notices);
}

function kindOf({ from, to, wasProvisioned }: RecordedState): 'suspension' | 'resumption' | undefined {
  if (!wasProvisioned) return undefined;
  if (from === 'active' && to === 'suspended') return 'suspension';
  return from === 'suspended' && to === 'active' ? 'resumption' : undefined;
}
