/**
 * Requests to the Government's CA: drawn up with the fields of its forms, sent with a letter, come back with remarks, sent again. What the
 * account says already need not be told. The identity number is kept encrypted and never shown again but for its last digits.
 *
 *   drafted → sent → issued → revoked;  sent → returned → sent;  drafted, sent, returned → cancelled
 */
import { createHash, randomUUID } from 'node:crypto';
import type { ExternalCredentialInput, ExternalForm } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { type Fault, invalid, keyReused, ServiceError } from '@congvu/errors';
import { maskNationalId, parseMobile, parseNationalId } from '@congvu/vietnamese';
import { type WrappingKey, wrapPrivateKey } from '../authority/key-wrap.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import {
  type AccountFacts,
  type ExternalRow,
  findAccountWithin,
  findByIdempotencyKey,
  insertExternal,
  lockExternal,
  updateExternal,
} from './external-store.ts';

export interface ExternalDependencies {
  database: Database;
  wrappingKey: WrappingKey;
}

export interface ExternalActor extends SystemOrActor {
  /** Whose subtree it may touch. */
  agencyCode: string;
}

/** Where the identity number of a request is sealed for. */
export const sealedFor = (id: string): string => `external-credential:${id}`;

/** The id of the request; the same for the same Idempotency-Key. */
export async function draftExternal(
  { database, wrappingKey }: ExternalDependencies,
  input: ExternalCredentialInput,
  actor: ExternalActor,
  idempotencyKey: string | undefined,
): Promise<string> {
  const account = await findAccountWithin(database, input.accountId, actor.agencyCode);
  if (!account) {
    const detail = 'There is no account with that id at or below your agency.';
    throw invalid('account_not_found', [{ pointer: '/accountId', code: 'account_not_found', detail }]);
  }
  if (account.state === 'retired')
    throw new ServiceError({ kind: 'conflict', code: 'account_state', detail: 'The account is retired.' });
  const { form, identityNumber } = checkedForm(input.form, account);
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  return database.transaction(async (transaction) => {
    const id = randomUUID();
    const inserted = await insertExternal(transaction, {
      id,
      kind: input.form.kind,
      account_id: account.id,
      agency_id: account.agencyId,
      form,
      identity_sealed: seal(wrappingKey, identityNumber, id),
      created_by: actor.id,
      idempotency_key: idempotencyKey ?? null,
      body_hash: idempotencyKey === undefined ? null : bodyHash,
    });
    if (!inserted) {
      const repeated = await findByIdempotencyKey(transaction, actor.id, idempotencyKey as string);
      if (!repeated?.body_hash?.equals(bodyHash)) throw keyReused();
      return repeated.id;
    }
    const row = { account_id: account.id, agency_id: account.agencyId };
    await recordExternalEvent(transaction, actor, 'drafted', row, null, { id, kind: input.form.kind });
    return id;
  });
}

/** Of one that is still being written, or came back. Without an identity number the one that was told before stays. */
export async function changeExternal(
  { database, wrappingKey }: ExternalDependencies,
  id: string,
  input: ExternalForm,
  actor: ExternalActor,
  version: number | undefined,
): Promise<void> {
  await database.transaction(async (transaction) => {
    const row = await lockExternal(transaction, id, actor.agencyCode, version);
    requireState(row, ['drafted', 'returned'], 'changed');
    if (input.kind !== row.kind) {
      const detail = `The request is for the kind ${row.kind}; draw up another one for another kind.`;
      throw invalid('external_kind', [{ pointer: '/form/kind', code: 'external_kind', detail }]);
    }
    const account = await requireAccount(transaction, row, actor);
    const { form, identityNumber } = checkedForm(input, account);
    const { identityNumber: masked } = row.form;
    await updateExternal(transaction, id, {
      form: identityNumber === undefined && masked !== undefined ? { ...form, identityNumber: masked } : form,
      ...(identityNumber !== undefined && { identity_sealed: seal(wrappingKey, identityNumber, id) }),
    });
    await recordExternalEvent(transaction, actor, 'changed', row, null, { id });
  });
}

export const sendExternal = (
  { database }: ExternalDependencies,
  id: string,
  { letterNumber }: { letterNumber: string },
  actor: ExternalActor,
  version: number | undefined,
): Promise<void> =>
  database.transaction(async (transaction) => {
    const row = await lockExternal(transaction, id, actor.agencyCode, version);
    requireState(row, ['drafted', 'returned'], 'sent');
    await requireAccount(transaction, row, actor);
    await updateExternal(transaction, id, {
      state: 'sent',
      letter_number: letterNumber,
      sent_at: transaction.fn.now() as never,
      sent_by: actor.id,
      remark: null,
    });
    await recordExternalEvent(transaction, actor, 'sent', row, { state: row.state }, { id, letterNumber });
  });

export const returnExternal = (
  { database }: ExternalDependencies,
  id: string,
  { remark }: { remark: string },
  actor: ExternalActor,
  version: number | undefined,
): Promise<void> =>
  database.transaction(async (transaction) => {
    const row = await lockExternal(transaction, id, actor.agencyCode, version);
    requireState(row, ['sent'], 'returned');
    await updateExternal(transaction, id, { state: 'returned', remark });
    await recordExternalEvent(transaction, actor, 'returned', row, { state: row.state }, { id, remark });
  });

/** What it was to be is of no use any more; the identity number is forgotten. */
export const cancelExternal = (
  { database }: ExternalDependencies,
  id: string,
  actor: ExternalActor,
  version: number | undefined,
): Promise<void> =>
  database.transaction(async (transaction) => {
    const row = await lockExternal(transaction, id, actor.agencyCode, version);
    requireState(row, ['drafted', 'sent', 'returned'], 'cancelled');
    await updateExternal(transaction, id, { state: 'cancelled', identity_sealed: null });
    await recordExternalEvent(transaction, actor, 'cancelled', row, { state: row.state }, { id });
  });

export function requireState(row: ExternalRow, states: readonly ExternalRow['state'][], toBe: string): void {
  if (states.includes(row.state)) return;
  throw new ServiceError({
    kind: 'conflict',
    code: 'external_state',
    detail: `The credential is ${row.state}; only one that is ${states.join(' or ')} can be ${toBe}.`,
  });
}

async function requireAccount(
  transaction: Transaction,
  row: ExternalRow,
  { agencyCode }: ExternalActor,
): Promise<AccountFacts> {
  const account = await findAccountWithin(transaction, row.account_id, agencyCode);
  if (account && account.state !== 'retired') return account;
  const detail = account
    ? 'The account is retired.'
    : 'The account is at another agency now; its request is that agency’s to go on with.';
  throw new ServiceError({ kind: 'conflict', code: 'account_state', detail });
}

type Happening = 'drafted' | 'changed' | 'sent' | 'returned' | 'cancelled' | 'issued' | 'revoked';

export const recordExternalEvent = (
  transaction: Transaction,
  actor: SystemOrActor,
  what: Happening,
  row: { account_id: string; agency_id: string },
  before: object | null,
  after: object,
): Promise<void> =>
  recordCertificateEvent(
    transaction,
    actor,
    `external_credential.${what}`,
    { ...row, request_id: null },
    before,
    after,
  );

const seal = (key: WrappingKey, identityNumber: string | undefined, id: string): Buffer | null =>
  identityNumber === undefined ? null : wrapPrivateKey(Buffer.from(identityNumber), key, sealedFor(id));

const kindsByAccount: Readonly<Record<AccountFacts['kind'], readonly ExternalForm['kind'][]>> = {
  person: ['individual'],
  position: ['individual'],
  agency: ['organisation', 'device'],
  service: ['device'],
};

/** With what the account says where the form says nothing; the identity number apart. Every fault at once. */
function checkedForm(input: ExternalForm, account: AccountFacts) {
  const faults: Fault[] = [];
  if (!kindsByAccount[account.kind].includes(input.kind)) {
    const detail = `An account of the kind ${account.kind} can ask for ${kindsByAccount[account.kind].join(' or ')}.`;
    faults.push({ pointer: '/form/kind', code: 'external_kind', detail });
  }
  const read = <T extends { ok: boolean }>(pointer: string, result: T): Extract<T, { ok: true }> | undefined => {
    if (result.ok) return result as Extract<T, { ok: true }>;
    const found = (result as unknown as { faults: { code: string; detail: string }[] }).faults;
    faults.push(...found.map(({ code, detail }) => ({ pointer, code, detail })));
    return undefined;
  };
  const { identityNumber: given, ...form } = input;
  const birthDate = 'birthDate' in form ? form.birthDate : undefined;
  const number = given && read('/form/identityNumber', parseNationalId(given, { birthDate }))?.nationalId;
  const tidy: Record<string, unknown> = { ...form };
  if ('mobile' in form && form.mobile !== undefined)
    tidy.mobile = read('/form/mobile', parseMobile(form.mobile))?.mobile;
  if ('keeper' in form && form.keeper?.mobile !== undefined)
    tidy.keeper = { ...form.keeper, mobile: read('/form/keeper/mobile', parseMobile(form.keeper.mobile))?.mobile };
  if (faults.length > 0) throw invalid('external_form_invalid', faults);
  const known = {
    individual: { fullName: account.fullName, ...(account.title && { title: account.title }) },
    organisation: { name: account.agencyName },
    device: {},
  }[input.kind];
  return {
    form: { ...known, ...tidy, ...(number && { identityNumber: maskNationalId(number) }) },
    identityNumber: number,
  };
}
