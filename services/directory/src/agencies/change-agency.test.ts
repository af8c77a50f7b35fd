/** Single changes hold from their date on, are refused when they are stale or break the tree, and never run into each other. */
import { insertAccount } from '@congvu/database/testing';
import { distinguishedName } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { convergeEntries } from '../accounts/converge-entry.ts';
import { startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let province: TestClient;
let district: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  province = await directory.client('H41', ['agencies:write', 'agencies:read']);
  district = await directory.client('H41.32', ['agencies:write', 'agencies:read']);
});
afterAll(() => directory.stop());

beforeEach(async () => {
  await directory.owner.raw(
    'truncate directory.agencies, directory.audit_events cascade; truncate directory_jobs._private_jobs cascade',
  );
  const rows = [
    'code,name,level,parent_code,mail_domain,valid_from',
    'H41,UBND tỉnh,province,,a.vn,',
    'H41.01,Sở A,department,H41,a.vn,2020-01-01',
    'H41.02,Sở B,department,H41,a.vn,',
    'H41.32,Huyện,district,H41,a.vn,',
    'H41.32.01,Xã,commune,H41.32,a.vn,',
  ];
  const request = supertest(directory.app).post('/v1/agencies/import').set('Authorization', province.bearer);
  await request.type('text/csv').send(rows.join('\n')).expect(200);
});

const patch = (code: string, change: object, version?: string, by = province) => {
  const request = supertest(directory.app).patch(`/v1/agencies/${code}`).set('Authorization', by.bearer);
  return (version === undefined ? request : request.set('If-Match', version)).send(change);
};
const get = (path: string) => supertest(directory.app).get(path).set('Authorization', province.bearer).expect(200);
const events = () => directory.owner('directory.audit_events').where({ subject_type: 'agency' }).orderBy('id');
const refused = (answer: supertest.Response) => [
  answer.status,
  ...(answer.body.errors ?? []).map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`),
];

describe('a change', () => {
  it('keeps mail in the domains of the province', async () => {
    expect(refused(await patch('H41.32.01', { mailDomain: 'gmail.com' }, undefined, district))).toEqual([
      422,
      '/mailDomain mail_domain_foreign',
    ]);
    await patch('H41.32.01', { mailDomain: 'huyen.a.vn' }, undefined, district).expect(200);
  });

  it('holds from its date on, is audited, and sends LDAP and its mailing list after it', async () => {
    await directory.owner.raw('truncate directory_jobs._private_jobs, mailbox_jobs._private_jobs cascade');
    const change = { name: 'Sở A và B', headCount: 70, validFrom: '2025-03-01' };
    const { body, headers } = await patch('000.00.01.H41', change).expect(200);
    expect(body).toMatchObject({
      code: 'H41.01',
      name: 'Sở A và B',
      headCount: 70,
      validFrom: '2020-01-01',
      version: 2,
    });
    expect(headers.etag).toBe('"2"');
    const { periods } = (await get('/v1/agencies/H41.01/history')).body;
    expect(periods).toMatchObject([
      { name: 'Sở A', headCount: null, validTo: '2025-03-01' },
      { name: 'Sở A và B', headCount: 70, validFrom: '2025-03-01', validTo: null },
    ]);
    const [event] = (await events()).slice(-1);
    expect(event).toMatchObject({ action: 'agency.changed', actor_id: province.id, subject_id: 'H41.01' });
    expect(event.before).toMatchObject({ name: 'Sở A', headCount: null });
    expect(event.after).toMatchObject({ name: 'Sở A và B', headCount: 70, periods });
    expect(await directory.owner('directory_jobs._private_jobs').pluck('key')).toEqual(['agencies']);
    const { id } = await directory.owner('directory.agencies').where({ code: 'H41.01' }).first('id');
    expect(await directory.owner('mailbox_jobs._private_jobs').pluck('payload')).toEqual([{ agencyIds: [id] }]);
  });

  it('reaches the entries of the people in the agency, and in those below it when it moves', async () => {
    const [own, below] = [
      await insertAccount(directory.owner, { agencyCode: 'H41.32' }),
      await insertAccount(directory.owner, { agencyCode: 'H41.32.01' }),
    ];
    const queued = async () => {
      const { rows } = await directory.owner.raw(
        "select payload from directory_jobs._private_jobs where payload::text like '%accountIds%'",
      );
      await directory.owner.raw('truncate directory_jobs._private_jobs cascade');
      return rows.flatMap((row: { payload: { accountIds: string[] } }) => row.payload.accountIds).sort();
    };
    const organization = async ({ username }: { username: string }) => {
      const people = `ou=people,${directory.baseDn}`;
      return (await directory.ldap.find(distinguishedName({ uid: username }, people), ['o']))?.attributes.o;
    };
    const { database, ldap, baseDn } = directory;
    await convergeEntries({ database, ldap, baseDn }, [own.id, below.id]);
    expect(await organization(own)).toEqual(['Huyện']);
    await queued();
    await patch('H41.32', { name: 'Huyện Mới' }).expect(200);
    expect(await queued()).toEqual([own.id]);
    await convergeEntries({ database, ldap, baseDn }, [own.id]);
    expect(await organization(own)).toEqual(['Huyện Mới']);
    await patch('H41.32', { headCount: 5 }).expect(200);
    expect(await queued()).toEqual([]);
    await patch('H41.32', { parentCode: 'H41.01' }).expect(200);
    expect(await queued()).toEqual([own.id, below.id].sort());
    expect(await directory.owner('directory.accounts').whereRaw('entry_version < version')).toHaveLength(2);
    for (const { username } of [own, below]) {
      await ldap.remove(distinguishedName({ uid: username }, `ou=people,${baseDn}`));
    }
  });

  it('of the beginning corrects what has no date', async () => {
    await patch('H41.02', { name: 'Sở Bê', validFrom: null }).expect(200);
    expect((await get('/v1/agencies/H41.02/history')).body.periods).toMatchObject([{ name: 'Sở Bê', validFrom: null }]);
  });

  it('that changes nothing leaves no trace', async () => {
    const before = await events();
    const { body } = await patch('H41.01', { name: 'Sở A', headCount: null }).expect(200);
    expect(body.version).toBe(1);
    expect(await patch('H41.01', {})).toMatchObject({ status: 200 });
    expect(await events()).toEqual(before);
  });

  it('closes with a successor, and opens again', async () => {
    const end = { validTo: '2025-03-01', successorCode: '000.00.02.H41' };
    const closed = (await patch('H41.01', end).expect(200)).body;
    expect(closed).toMatchObject({ status: 'closed', validTo: '2025-03-01', successorCode: 'H41.02' });
    expect((await get('/v1/agencies/H41.02/history')).body.predecessorCodes).toEqual(['H41.01']);
    expect(refused(await patch('H41.01', { validTo: null }))).toEqual([422, '/validTo successor_of_open']);
    const opened = (await patch('H41.01', { validTo: null, successorCode: null }).expect(200)).body;
    expect(opened).toMatchObject({ status: 'active', validTo: null, successorCode: null, version: 3 });
  });

  it('moves an agency, and the subtree with it', async () => {
    await patch('H41.32.01', { parentCode: 'H41.01' }).expect(200);
    const { items } = (await get('/v1/agencies?under=H41.01')).body;
    expect(items.map((item: { code: string }) => item.code)).toEqual(['H41.01', 'H41.32.01']);
  });

  it.each([
    ['a parent that is nowhere', 'H41.01', { parentCode: 'H41.99' }, ['/parentCode parent_not_found']],
    ['itself as the parent', 'H41.01', { parentCode: 'H41.01' }, ['/parentCode cycle']],
    ['a parent below itself', 'H41.32', { parentCode: 'H41.32.01' }, ['/parentCode cycle']],
    ['no parent', 'H41.01', { parentCode: null }, ['/parentCode parent_level']],
    [
      'itself as the successor',
      'H41.01',
      { validTo: '2025-01-01', successorCode: 'H41.01' },
      ['/successorCode successor_cycle'],
    ],
    [
      'a successor that is nowhere',
      'H41.01',
      { validTo: '2025-01-01', successorCode: 'H41.99' },
      ['/successorCode successor_not_found'],
    ],
    ['a successor without an end', 'H41.01', { successorCode: 'H41.02' }, ['/validTo successor_of_open']],
    ['an end before the beginning', 'H41.01', { validTo: '2019-01-01' }, ['/validTo validity_order']],
    ['a name with a line break', 'H41.01', { name: 'Sở\nA' }, ['/name character']],
    ['a number of people below none', 'H41.01', { headCount: -1 }, ['/headCount too_small']],
    ['a date that no calendar has', 'H41.01', { name: 'x', validFrom: '2025-02-30' }, ['/validFrom invalid_format']],
    ['a code out of form', 'H41.01', { parentCode: 'Z-1' }, ['/parentCode agency_code_form']],
    ['its code', 'H41.01', { code: 'H41.05' }, ['/code unknown_field']],
    ['its short name', 'H41.01', { shortName: 'x' }, ['/shortName unknown_field']],
  ])('is refused for %s, and nothing is written', async (_, code, change, faults) => {
    const before = await events();
    expect(refused(await patch(code, change))).toEqual([422, ...faults]);
    expect(await events()).toEqual(before);
    expect((await get(`/v1/agencies/${code}`)).body.version).toBe(1);
  });

  it('finds all faults at once', async () => {
    const change = {
      parentCode: 'H41.99',
      successorCode: 'H41.98',
      validTo: '2025-01-01',
      name: 'Sở',
      validFrom: '2021-01-01',
    };
    expect(refused(await patch('H41.01', change))).toEqual([
      422,
      '/parentCode parent_not_found',
      '/successorCode successor_not_found',
    ]);
  });
});

describe('the subtree of the client', () => {
  it('is the reach of its changes', async () => {
    await patch('H41.32.01', { name: 'Xã Mới' }, undefined, district).expect(200);
    expect((await patch('H41.01', { name: 'x' }, undefined, district)).body.code).toBe('agency_not_found');
    expect(refused(await patch('H41.32.01', { parentCode: 'H41.01' }, undefined, district))).toEqual([
      422,
      '/parentCode outside_scope',
    ]);
    expect(refused(await patch('H41.32', { parentCode: 'H41.01' }, undefined, district))).toEqual([
      422,
      '/parentCode outside_scope',
    ]);
    const end = { validTo: '2099-01-01', successorCode: 'H41.01' };
    expect(refused(await patch('H41.32.01', end, undefined, district))).toEqual([
      422,
      '/successorCode successor_not_found',
    ]);
    await patch('H41.32', { name: 'Huyện Mới' }, undefined, district).expect(200);
  });
});

describe('changes at once', () => {
  it('of what was read too long ago are refused', async () => {
    const { etag } = (await get('/v1/agencies/H41.01')).headers;
    await patch('H41.01', { name: 'Một' }, etag).expect(200);
    const late = await patch('H41.01', { name: 'Hai' }, etag);
    expect([late.status, late.body.code]).toEqual([412, 'stale_version']);
    expect((await get('/v1/agencies/H41.01')).body).toMatchObject({ name: 'Một', version: 2 });
  });

  it('with the same ETag: one wins and the other is told', async () => {
    const answers = await Promise.all(['Một', 'Hai', 'Ba'].map((name) => patch('H41.01', { name }, '"1"')));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412]);
    expect((await events()).filter((event) => event.action === 'agency.changed')).toHaveLength(1);
  });

  it('that would together close a circle: the second is refused', async () => {
    const answers = await Promise.all([
      patch('H41.01', { parentCode: 'H41.02' }),
      patch('H41.02', { parentCode: 'H41.01' }),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 422]);
  });
});
