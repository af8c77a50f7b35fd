/**
 * For tests of the services that read the directory: agencies, requests and accounts as the directory service leaves them,
 * written by the owner of the schemas, because nobody else may.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Database } from './open.ts';

export interface TestAccount {
  id: string;
  username: string;
  address: string;
  displayName: string;
  agencyId: string;
}

/** Province H41 with a district H41.12, a commune H41.12.05 below it, and a department H41.02 beside it. */
export async function insertProvince(owner: Database): Promise<void> {
  const agencies = [
    ['H41', 'Ủy ban nhân dân tỉnh Nghệ An', 'province', null],
    ['H41.12', 'Ủy ban nhân dân huyện Quỳnh Lưu', 'district', 'H41'],
    ['H41.12.05', 'Ủy ban nhân dân xã Quỳnh Thắng', 'commune', 'H41.12'],
    ['H41.02', 'Sở Thông tin và Truyền thông', 'department', 'H41'],
  ] as const;
  for (const [code, name, level, parent] of agencies) {
    await owner.raw(
      `insert into directory.agencies (code, name, level, parent_id, short_name, mail_domain)
       values (?, ?, ?, (select id from directory.agencies where code = ?), ?, 'nghean.gov.vn')`,
      [code, name, level, parent ?? '', code.toLowerCase().replaceAll('.', '-')],
    );
  }
  await owner.raw(
    `insert into directory.agency_periods (agency_id, name, level, parent_id, mail_domain, search_key)
     select id, name, level, parent_id, mail_domain, lower(code) from directory.agencies`,
  );
}

/** A decided request of an agency, submitted by one client and decided by another; its id. */
export async function insertRequest(
  owner: Database,
  request: { agencyCode: string; state?: 'approved' | 'rejected'; contactAddress?: string; remark?: string },
): Promise<string> {
  const [submitter, approver] = [randomUUID(), randomUUID()];
  for (const [id, name] of [
    [submitter, 'Người gửi'],
    [approver, 'Người duyệt'],
  ]) {
    await owner('directory.clients').insert({
      id,
      name: `${name} ${id}`,
      agency_code: request.agencyCode,
      permissions: [],
      secret_hash: randomBytes(32),
    });
  }
  const [row] = await owner('directory.requests')
    .insert({
      agency_id: owner('directory.agencies').where({ code: request.agencyCode }).select('id'),
      state: request.state ?? 'approved',
      submitted_by: submitter,
      decided_by: approver,
      decided_at: owner.fn.now(),
      decision_number: '15/QĐ-UBND',
      contact_address: request.contactAddress ?? null,
      remark: request.remark ?? null,
      body_hash: randomBytes(32),
    })
    .returning('id');
  return row.id as string;
}

/** A program of the province's; its id. */
export async function insertClient(
  owner: Database,
  client: { name?: string; createdBy?: string } = {},
): Promise<string> {
  const id = randomUUID();
  await owner('directory.clients').insert({
    id,
    name: client.name ?? `client ${id}`,
    agency_code: 'H41',
    permissions: [],
    secret_hash: randomBytes(32),
    created_by: client.createdBy ?? null,
  });
  return id;
}

export async function insertAccount(
  owner: Database,
  account: {
    agencyCode?: string;
    kind?: 'person' | 'position' | 'agency';
    title?: string;
    /** Of a position. */
    holder?: TestAccount;
    state?: 'pending' | 'active' | 'suspended' | 'retired';
    certificatePath?: 'server_key' | 'csr' | 'none';
    displayName?: string;
    requestId?: string;
  } = {},
): Promise<TestAccount> {
  const { kind = 'person', certificatePath, displayName = 'Huỳnh Thanh Điền' } = account;
  // Others are asked one only by name.
  const ordered = certificatePath ?? (kind === 'person' ? 'server_key' : 'none');
  const username = `t${randomBytes(6).toString('hex')}`;
  const address = `${username}@nghean.gov.vn`;
  const [surname, ...rest] = displayName.split(' ');
  const givenName = rest.at(-1) ?? '';
  return owner.transaction(async (transaction) => {
    const [person] =
      kind === 'person'
        ? await transaction('directory.people')
            .insert({
              full_name: displayName,
              surname,
              middle_names: rest.slice(0, -1).join(' '),
              given_name: givenName,
              birth_date: '1990-01-02',
              national_id_sealed: randomBytes(40),
              national_id_hash: randomBytes(32),
            })
            .returning('id')
        : [];
    const agency = await transaction('directory.agencies')
      .where({ code: account.agencyCode ?? 'H41.12' })
      .first('id');
    const [row] = await transaction('directory.accounts')
      .insert({
        kind,
        username,
        address,
        state: account.state ?? 'active',
        agency_id: agency.id,
        person_id: person?.id ?? null,
        display_name: displayName,
        surname: kind === 'person' ? surname : displayName,
        given_name: givenName,
        title: account.title ?? null,
        certificate_path: ordered,
      })
      .returning('id');
    await transaction('directory.usernames').insert({ username, account_id: row.id });
    const parts = ['entry', 'mailbox', ...(ordered !== 'none' ? ['certificate'] : [])];
    await transaction('directory.provisioning').insert(parts.map((part) => ({ account_id: row.id, part })));
    if (account.holder) {
      await transaction('directory.position_holdings').insert({
        position_id: row.id,
        holder_id: account.holder.id,
        held_from: transaction.fn.now(),
        begun_by: 'test',
        begun_reason: 'test',
      });
    }
    if (account.requestId !== undefined) {
      await transaction('directory.request_lines').insert({
        request_id: account.requestId,
        line_number: transaction.raw(
          '(select count(*) + 1 from directory.request_lines where request_id = ?)',
          account.requestId,
        ),
        agency_id: agency.id,
        kind: 'agency',
        state: 'approved',
        carried_out_at: transaction.fn.now(),
        certificate_path: 'none',
        account_id: row.id,
      });
    }
    return { id: row.id as string, username, address, displayName, agencyId: agency.id as string };
  });
}

/** As the directory service changes an account: its version grows with it. */
export const changeAccount = (owner: Database, id: string, changes: Record<string, unknown>): Promise<unknown> =>
  owner('directory.accounts')
    .where({ id })
    .update({ ...changes, version: owner.raw('version + 1') });
