/** What was planned comes about at midnight by itself: in the answers at once, in the audit log and LDAP by the task. */
import { distinguishedName } from '@congvu/ldap';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { convergeAgencies } from './converge-agencies.ts';
import { settleAgencies } from './settle-agencies.ts';

// Codes of a province that no other file uses: the LDAP server is shared.
let directory: TestDirectory;
let client: TestClient;
const codes = ['Y87', 'Y87.01', 'Y87.02', 'Y87.03'];
const dn = (code: string) => distinguishedName({ ou: code }, `ou=agencies,${directory.baseDn}`);

beforeAll(async () => {
  directory = await startTestDirectory();
  client = await directory.client('Y87', ['agencies:write', 'agencies:read']);
});
afterAll(async () => {
  for (const code of codes.toReversed()) await directory.ldap.remove(dn(code));
  await directory.stop();
});

const get = async (code: string) =>
  (await supertest(directory.app).get(`/v1/agencies/${code}`).set('Authorization', client.bearer).expect(200)).body;
const inLdap = async (code: string) =>
  (
    await directory.ldap.find(dn(code), [
      'description',
      'congvuAgencyStatus',
      'congvuSuccessorCode',
      'congvuParentCode',
    ])
  )?.attributes;
const converge = () =>
  convergeAgencies(directory.database, directory.ldap, directory.baseDn, AbortSignal.timeout(30_000));
const events = () =>
  directory.owner('directory.audit_events').where({ action: 'agency.settled' }).orderBy('subject_id');
/** A day passes: the same as moving every date a day back. */
const sleepOver = () =>
  directory.owner.transaction(async (transaction) => {
    const back = { valid_from: transaction.raw('valid_from - 1'), valid_to: transaction.raw('valid_to - 1') };
    const periods = await transaction('directory.agency_periods').select('*', back);
    await transaction('directory.agency_periods').delete();
    await transaction('directory.agency_periods').insert(periods);
    await transaction('directory.agencies').update(back);
  });

it('closes, opens, renames and moves on the day, once', async () => {
  const tomorrow = new Date(Date.now() + 31 * 3_600_000).toISOString().slice(0, 10);
  const rows = [
    'code,name,level,parent_code,mail_domain,valid_from,valid_to,successor_code',
    'Y87,Tỉnh,province,,a.vn,,,',
    `Y87.01,Sở Cũ,department,Y87,a.vn,,${tomorrow},Y87.02`,
    `Y87.02,Sở Mới,department,Y87,a.vn,${tomorrow},,`,
    'Y87.03,Phòng,public_unit,Y87.01,a.vn,,,',
  ];
  const post = (lines: string[]) =>
    supertest(directory.app)
      .post('/v1/agencies/import')
      .set('Authorization', client.bearer)
      .type('text/csv')
      .send(lines.join('\n'));
  await post(rows).expect(200);
  await post([rows[0] as string, `Y87.03,Phòng Mới,public_unit,Y87.02,a.vn,${tomorrow},,`]).expect(200);
  await converge();
  await settleAgencies(directory.database);
  expect(await events()).toEqual([]);
  expect([(await get('Y87.01')).status, (await get('Y87.02')).status]).toEqual(['active', 'future']);
  expect(await inLdap('Y87.01')).toMatchObject({ congvuAgencyStatus: ['active'], congvuSuccessorCode: ['Y87.02'] });
  expect(await inLdap('Y87.02')).toMatchObject({ congvuAgencyStatus: ['future'] });
  expect(await inLdap('Y87.03')).toMatchObject({ description: ['Phòng'], congvuParentCode: ['Y87.01'] });

  await sleepOver();
  // What is asked for knows the day without any task.
  expect([(await get('Y87.01')).status, (await get('Y87.02')).status]).toEqual(['closed', 'active']);
  const [{ status }] = await directory.owner('directory.agencies_v').where({ code: 'Y87.01' }).select('status');
  expect(status).toBe('closed');
  await directory.owner.raw('truncate directory_jobs._private_jobs, mailbox_jobs._private_jobs cascade');
  // Two processes at once.
  await Promise.all([settleAgencies(directory.database), settleAgencies(directory.database)]);
  expect(await events()).toMatchObject([
    { subject_id: 'Y87.01', actor_kind: 'system', before: { status: 'active' }, after: { status: 'closed' } },
    { subject_id: 'Y87.02', before: { status: 'future' }, after: { status: 'active' } },
    {
      subject_id: 'Y87.03',
      before: { name: 'Phòng', parentCode: 'Y87.01', status: 'active' },
      after: { name: 'Phòng Mới', parentCode: 'Y87.02', status: 'active' },
    },
  ]);
  expect(await get('Y87.03')).toMatchObject({ name: 'Phòng Mới', parentCode: 'Y87.02' });
  const found = await supertest(directory.app).get('/v1/agencies?q=phong moi').set('Authorization', client.bearer);
  expect(found.body.items).toMatchObject([{ code: 'Y87.03' }]);
  expect(await directory.owner('directory_jobs._private_jobs').pluck('key')).toEqual(['agencies']);
  const lists = await directory.owner('mailbox_jobs._private_jobs').pluck('payload');
  const settled = await directory.owner('directory.agencies').whereNot({ code: 'Y87' }).pluck('id');
  expect(lists.flatMap(({ agencyIds }) => agencyIds).sort()).toEqual(settled.sort());

  await converge();
  expect(await inLdap('Y87.01')).toMatchObject({ congvuAgencyStatus: ['closed'] });
  expect(await inLdap('Y87.02')).toMatchObject({ congvuAgencyStatus: ['active'] });
  expect(await inLdap('Y87.03')).toMatchObject({ description: ['Phòng Mới'], congvuParentCode: ['Y87.02'] });
  await settleAgencies(directory.database);
  expect(await events()).toHaveLength(3);
});
