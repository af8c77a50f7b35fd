/**
 * What the people of a province do with the platform, one function each, through the API and their mail programs alone.
 * The main job of `npm start` and the journeys of the tests are made of these.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ActivationCode,
  AgencyImportReport,
  type ApiClient,
  Certificate,
  connectApi,
  Enrolment,
  HolderToken,
  Mailbox,
  RequestDetail,
  type RequestLineInput,
} from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import { type Entry, openLdap } from '@congvu/ldap';
import { z } from 'zod';
import type { Credentials } from './mail-client.ts';
import { nationalIdOf } from './sample-sheets.ts';
import type { connectClients, StackDescription } from './stack.ts';

type Clients = ReturnType<typeof connectClients>;
const pageOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), nextCursor: z.string().nullable() });

export const sampleFile = (name: 'agencies.csv' | 'people.csv'): Promise<string> =>
  readFile(join(import.meta.dirname, 'sample/nghe-an', name), 'utf8');

export async function importAgencies({ administrator }: Clients): Promise<AgencyImportReport> {
  const csv = await sampleFile('agencies.csv');
  return administrator.call('directory', '/v1/agencies/import', AgencyImportReport, {
    body: csv,
    contentType: 'text/csv',
  });
}

/** An identity number of the right form that belongs to nobody: province, century and sex, year of birth, then random. */
export const inventNationalId = (birthDate: string, sex: 'male' | 'female'): string =>
  nationalIdOf(Number(birthDate.slice(0, 4)), sex, randomInt(1_000_000));

export const person = (
  fullName: string,
  birthDate: string,
  sex: 'male' | 'female',
  title: string,
  certificate: 'server_key' | 'csr' | 'none' = 'server_key',
): RequestLineInput => ({
  kind: 'person',
  fullName,
  birthDate,
  sex,
  title,
  nationalId: inventNationalId(birthDate, sex),
  certificate,
});

/** The three of Quỳnh Lưu: two get a key made for them, one brings a CSR. */
export const threePeople = (): RequestLineInput[] => [
  person('Huỳnh Thanh Điền', '1984-03-12', 'male', 'Chuyên viên'),
  person('Nguyễn Thị Hương Giang', '1990-11-02', 'female', 'Văn thư'),
  person('Hồ Sỹ Đạt', '1979-07-25', 'male', 'Phó Chánh Văn phòng', 'csr'),
];

export const submit = (
  api: ApiClient,
  agencyCode: string,
  lines: readonly RequestLineInput[],
  idempotencyKey = randomUUID(),
): Promise<RequestDetail> =>
  api.call('directory', '/v1/requests', RequestDetail, {
    body: { agencyCode, decision: { number: '1247/UBND-VP', date: '2026-11-02' }, lines },
    headers: { 'Idempotency-Key': idempotencyKey },
  });

export const approve = (api: ApiClient, id: string): Promise<RequestDetail> =>
  api.call('directory', `/v1/requests/${id}/approve`, RequestDetail, { body: { remark: 'Đồng ý.' } });

export const readRequest = (api: ApiClient, id: string): Promise<RequestDetail> =>
  api.call('directory', `/v1/requests/${id}`, RequestDetail);

/** Polls until `done` says so; while a service is down it goes on asking. */
export async function waitUntil<T>(
  what: string,
  ask: () => Promise<T>,
  done: (value: T) => boolean,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await ask();
      if (done(value)) return value;
      last = value;
    } catch (error) {
      if (!(error instanceof ServiceError) || error.kind !== 'unavailable') throw error;
      last = error.detail;
    }
    if (Date.now() > deadline)
      throw new Error(`not within ${timeoutMs} ms: ${what}; last seen: ${JSON.stringify(last)?.slice(0, 6_000)}`);
    await sleep(150);
  }
}

/** Until every line has its LDAP entry and mailbox; certificates whose CSR is awaited need not be there. */
export const waitForAccounts = (api: ApiClient, id: string, timeoutMs?: number): Promise<RequestDetail> =>
  waitUntil(
    `the accounts of request ${id}`,
    () => readRequest(api, id),
    (request) =>
      request.lines.every(({ account, certificate }) => {
        if (!account) return false;
        const needed = certificate === 'server_key' ? ['entry', 'mailbox', 'certificate'] : ['entry', 'mailbox'];
        return needed.every((part) => account.parts[part] === 'done');
      }),
    timeoutMs,
  );

export interface Holder extends Credentials {
  accountId: string;
  /** The activation code that was spent. */
  code: string;
  api: ApiClient;
}

/** The agency gets a code, hands it over, and the holder sets a password with it. */
export async function activate(clients: Clients, stack: StackDescription, accountId: string): Promise<Holder> {
  const { code, address } = await clients.requester.call(
    'directory',
    `/v1/accounts/${accountId}/activation-code`,
    ActivationCode,
    {
      method: 'POST',
    },
  );
  const password = `Mật-khẩu-${randomUUID()}`;
  const token = await clients.stranger.call('directory', '/v1/activations', HolderToken, {
    body: { account: address, code, password },
  });
  return { accountId, address, password, code, api: connectApi(stack.services, { token: token.access_token }) };
}

const enrolmentOf = async (holder: Holder): Promise<Enrolment> => {
  const { items } = await holder.api.call('certificate', '/v1/enrolments', pageOf(Enrolment));
  if (!items[0]) throw new Error(`${holder.address} has no enrolment`);
  return items[0];
};

/** The holder picks up the server-made key under a passphrase of the holder's own. */
export async function pickUpKey(holder: Holder): Promise<{ address: string; pkcs12: Buffer; passphrase: string }> {
  const passphrase = randomUUID();
  const { id } = await enrolmentOf(holder);
  const answer = await holder.api.fetch('certificate', `/v1/enrolments/${id}/pickup`, { body: { passphrase } });
  return { address: holder.address, pkcs12: Buffer.from(await answer.arrayBuffer()), passphrase };
}

export async function sendCsr(holder: Holder, csrPem: string): Promise<string> {
  const { id } = await enrolmentOf(holder);
  const answer = await holder.api.call(
    'certificate',
    `/v1/enrolments/${id}/csr`,
    z.object({ serialNumber: z.string() }),
    { body: { csr: csrPem } },
  );
  return answer.serialNumber;
}

export const listMailboxes = async (api: ApiClient, requestId: string): Promise<Mailbox[]> =>
  (await api.call('mailbox', `/v1/mailboxes?limit=500&requestId=${requestId}`, pageOf(Mailbox))).items;

export const listCertificates = async (api: ApiClient, requestId: string): Promise<Certificate[]> =>
  (await api.call('certificate', `/v1/certificates?limit=500&requestId=${requestId}`, pageOf(Certificate))).items;

/** What a connected system sees in LDAP. */
export async function withDirectory<T>(
  stack: StackDescription,
  work: (directory: DirectoryReader) => Promise<T>,
): Promise<T> {
  const { url, bindDn, password, baseDn } = stack.ldap;
  const ldap = openLdap({ url, bindDn, password });
  try {
    return await work({
      entry: async (uid) => ldap.find(`uid=${uid},ou=people,${baseDn}`, entryAttributes),
      people: () => ldap.search(`ou=people,${baseDn}`, { scope: 'one', attributes: entryAttributes }),
      authority: async () => {
        const entries = await ldap.search(`ou=authorities,${baseDn}`, {
          scope: 'one',
          attributes: authorityAttributes,
        });
        const issuing = entries.find(({ dn }) => dn.startsWith('cn=issuing'));
        const [certificate] = issuing?.attributes['cACertificate;binary'] ?? [];
        const [crl] = issuing?.attributes['certificateRevocationList;binary'] ?? [];
        if (!Buffer.isBuffer(certificate) || !Buffer.isBuffer(crl))
          throw new Error('the issuing authority is not in LDAP');
        return { certificate, crl };
      },
    });
  } finally {
    await ldap.close();
  }
}

export interface DirectoryReader {
  entry(uid: string): Promise<Entry | undefined>;
  people(): Promise<Entry[]>;
  /** The issuing authority's certificate and newest CRL, DER. */
  authority(): Promise<{ certificate: Buffer; crl: Buffer }>;
}

const entryAttributes = [
  'uid',
  'cn',
  'sn',
  'givenName',
  'title',
  'o',
  'mail',
  'congvuAccountId',
  'congvuAgencyCode',
  'congvuAccountStatus',
  'userCertificate;binary',
];
const authorityAttributes = ['cACertificate;binary', 'certificateRevocationList;binary'];
