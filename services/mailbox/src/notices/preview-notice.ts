/** A notice as it would be sent now, about somebody whom the caller may see, or made of sample facts. Nothing is put on record. */
import type { NoticeKind, NoticeLanguage, NoticePreview } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { findNextEnd } from './certificate-ends-store.ts';
import { readDigest } from './digest-store.ts';
import { type ExpiryFacts, samples } from './facts.ts';
import { accountFacts, findAgency, findDecision, findReturn, isInScope, listNoticeAccounts } from './facts-store.ts';
import { lastWeek } from './queue-digests.ts';
import type { Templates } from './templates.ts';

export async function previewNotice(
  { database, templates }: { database: Database; templates: Templates },
  { kind, language, subjectId }: { kind: NoticeKind; language: NoticeLanguage; subjectId: string | undefined },
  scope: string,
): Promise<NoticePreview> {
  const facts = subjectId === undefined ? samples[kind][0] : await findFacts(database, kind, subjectId, scope);
  return { kind, language, ...(await templates.render(kind, language, facts)) };
}

async function findFacts(database: Database, kind: NoticeKind, subjectId: string, scope: string): Promise<object> {
  const found = await findSubject(database, kind, subjectId);
  if (found && (await isInScope(database, found.agencyId, scope))) return found.facts;
  throw new ServiceError({
    kind: 'not_found',
    code: 'notice_subject_not_found',
    detail: `There is nothing at or below your agency with that id that a notice of the kind "${kind}" could tell of.`,
  });
}

async function findSubject(
  database: Database,
  kind: NoticeKind,
  id: string,
): Promise<{ facts: object; agencyId: string } | undefined> {
  if (kind === 'decision') return findDecision(database, id);
  if (kind === 'return') return findReturn(database, id);
  if (kind === 'digest') {
    const agency = await findAgency(database, { id });
    return agency && { facts: await readDigest(database, agency, lastWeek(new Date())), agencyId: agency.id };
  }
  const [account] = await listNoticeAccounts(database, [id]);
  if (!account) return undefined;
  const until = account.suspendedUntil?.toISOString() ?? null;
  const facts = {
    welcome: {},
    resumption: {},
    suspension: { toHolder: false, reason: account.suspensionReason, until },
    expiry: endOf(account),
    certificate_expiry: (await findNextEnd(database, id)) ?? certificateSample,
  }[kind];
  return { facts: { ...accountFacts(account), ...facts }, agencyId: account.agencyId };
}

/** Of an account without a certificate that ends. */
const { serialNumber, use, issuedBy, toHolder, endsAt } = samples.certificate_expiry[0];
const certificateSample = { serialNumber, use, issuedBy, toHolder, endsAt };

/** The end that the account has; where it has none, one as if it were suspended until now. */
const endOf = (account: { suspendedUntil: Date | null; retainedUntil: Date | null }): Partial<ExpiryFacts> => ({
  what: account.retainedUntil ? 'retention' : 'suspension',
  endsAt: (account.retainedUntil ?? account.suspendedUntil ?? new Date()).toISOString(),
  alias: null,
});
