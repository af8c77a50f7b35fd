/**
 * The subtree decides what one sees and may do: every guarded route of the app, named by its own OpenAPI document, is tried by a
 * client of the district next door that has every permission, on what belongs to this one. It sees nothing and changes nothing.
 */
import { permissions, roles } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from './testing.ts';

/** What belongs to district H41.32; the neighbour is H41.33. */
const own = { account: '', position: '', request: '', draft: '', client: '', username: '', system: '', run: '' };
let directory: TestDirectory;
let neighbour: TestClient;

interface Attempt {
  /** With {id} and the like filled in by what `own` holds. */
  url: (path: string) => string;
  body?: () => object | string;
  type?: string;
  /** A success means an answer in which nothing of the district is. */
  status: number;
  /** Where the list stands in the answer. */
  items?: 'items' | 'results';
}
const on = (id: () => string, status = 404, body?: () => object): Attempt => ({
  url: (path) => path.replace('{id}', id()),
  ...(body ? { body } : {}),
  status,
});
const at = (code: string): Attempt => ({ url: (path) => path.replace('{code}', code), status: 404 });
const list = (query = ''): Attempt => ({ url: (path) => `${path}${query}`, status: 200 });
const account = () => own.account;
const request = () => own.request;
const client = () => own.client;
const reason = () => ({ reason: 'Thử' });
const position = () => own.position;
const draft = () => own.draft;
const system = () => own.system;
const run = () => own.run;
const sheet = () => 'Họ và tên,Ngày sinh,Số CCCD\nTrần Văn Thử,05/03/1980,040080999999\n';

/** Every guarded route there is; a route that is added needs its row. */
const attempts: Record<string, Attempt | Attempt[]> = {
  'post /v1/clients': {
    url: (path) => path,
    body: () => ({ name: 'của nhà bên', agencyCode: 'H41.32', role: 'requester' }),
    status: 404,
  },
  'get /v1/clients': list('?limit=500'),
  'get /v1/clients/{id}': on(client),
  'patch /v1/clients/{id}': on(client, 404, () => ({ name: 'đổi tên' })),
  'post /v1/clients/{id}/secret': on(client),
  'delete /v1/clients/{id}': on(client),
  'post /v1/agencies/import': {
    url: (path) => path,
    body: () =>
      'code,name,level,parent_code,valid_to,mail_domain,gso_code\nH41.32,Huyện Khác,district,H41,,nghean.gov.vn,\nH41.32.05,Xã Khác,commune,H41.32,,nghean.gov.vn,\n',
    type: 'text/csv',
    status: 422,
  },
  'get /v1/agencies': [list('?limit=500'), list('?parentCode=H41.32')],
  'get /v1/agencies/{code}': at('H41.32'),
  'get /v1/agencies/{code}/history': at('H41.32'),
  'get /v1/agencies/{code}/tree': at('H41.32'),
  'patch /v1/agencies/{code}': { ...at('H41.32'), body: () => ({ name: 'Huyện Khác' }) },
  'post /v1/requests': {
    url: (path) => path,
    body: () => ({ agencyCode: 'H41.32', lines: [personLine('Trần Văn Thử')] }),
    status: 422,
  },
  'get /v1/requests': [list('?limit=500'), list('?agencyCode=H41.32')],
  'get /v1/requests/late-summary': list(),
  'get /v1/requests/{id}': on(request),
  'get /v1/requests/{id}/lines': on(request),
  'get /v1/requests/{id}/usernames': on(request),
  'put /v1/requests/{id}': on(draft, 404, () => ({ agencyCode: 'H41.33', lines: [personLine('Trần Văn Thử')] })),
  'post /v1/requests/{id}/submit': on(draft, 404, () => ({})),
  'post /v1/requests/{id}/return': on(request, 404, () => ({ remark: 'Sửa' })),
  'post /v1/requests/approve': {
    url: (path) => path,
    body: () => ({ requests: [{ id: own.request }] }),
    status: 200,
    items: 'results',
  },
  'post /v1/requests/{id}/activation-slips': on(request, 404),
  'post /v1/sheets': { url: (path) => `${path}?agencyCode=H41.32`, body: sheet, type: 'text/csv', status: 404 },
  'get /v1/requests/{id}/sheet': on(draft),
  'put /v1/requests/{id}/sheet': { ...on(draft), body: sheet, type: 'text/csv' },
  'post /v1/requests/{id}/approve': on(request, 404, () => ({})),
  'post /v1/requests/{id}/reject': on(request, 404, () => ({ remark: 'Không' })),
  'post /v1/requests/{id}/cancel': on(request, 404, () => ({})),
  'get /v1/accounts': [
    list('?limit=500'),
    list('?q=H41.32'),
    list('?sort=name&limit=500'),
    list('?agencyCode=H41.32'),
    list('?q=dien'),
    { url: (path) => `${path}?q=${own.account}`, status: 200 },
    { url: (path) => `${path}?address=${own.username}@nghean.gov.vn`, status: 200 },
  ],
  'get /v1/accounts/{id}': on(account),
  'post /v1/accounts/{id}/suspend': on(account, 404, reason),
  'post /v1/accounts/{id}/resume': on(account, 404, reason),
  'post /v1/accounts/{id}/retire': on(account, 404, reason),
  'post /v1/accounts/{id}/reactivate': on(account, 404, reason),
  'post /v1/accounts/{id}/transfer': on(account, 404, () => ({ agencyCode: 'H41.33', reason: 'Thử' })),
  'put /v1/accounts/{id}/name': on(account, 404, () => ({ fullName: 'Trần Văn Thử' })),
  'put /v1/accounts/{id}/title': on(account, 404, () => ({ title: 'Trưởng phòng' })),
  'put /v1/accounts/{id}/holder': on(position, 404, () => ({ holderAccountId: null, reason: 'Thử' })),
  'get /v1/accounts/{id}/holders': on(position),
  'post /v1/accounts/{id}/activation-code': on(account),
  'post /v1/accounts/{id}/unlock': on(account),
  'post /v1/activation-slips': {
    url: (path) => path,
    body: () => ({ accountIds: [own.account] }),
    status: 422,
  },
  'post /v1/service-accounts': {
    url: (path) => path,
    body: () => ({ name: 'nha-ben', displayName: 'Nhà bên', agencyCode: 'H41.32', readScopes: ['names:H41.32'] }),
    status: 404,
  },
  'get /v1/service-accounts': list('?limit=500'),
  'get /v1/service-accounts/{id}': on(system),
  'put /v1/service-accounts/{id}/read-scopes': on(system, 404, () => ({ readScopes: ['names:H41.33'] })),
  'post /v1/service-accounts/{id}/secret': on(system),
  'post /v1/service-accounts/{id}/retire': on(system, 404, reason),
  'post /v1/reconciliations': {
    url: (path) => path,
    body: () => ({ mode: 'report', agencyCode: 'H41.32' }),
    status: 404,
  },
  'get /v1/reconciliations': list('?limit=500'),
  'get /v1/reconciliations/{id}': on(run),
  'get /v1/reconciliations/{id}/findings': on(run),
  'post /v1/reconciliations/{id}/approve': on(run, 404, () => ({})),
  'post /v1/reconciliations/{id}/cancel': on(run, 404, () => ({})),
  'get /v1/audit-events': [
    list('?limit=500'),
    list('?agencyCode=H41.32'),
    list('?order=asc'),
    { url: (path) => `${path}?subjectId=${own.account}`, status: 200 },
    { url: (path) => `${path}?requestId=${own.request}`, status: 200 },
  ],
};

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  const admin = await directory.client('H41', roles.platform_administrator);
  const district = await directory.client('H41.32', roles.requester);
  own.client = district.id;
  neighbour = await directory.client('H41.33', permissions);
  const approved = await directory.submit(district, 'H41.32', [
    personLine('Huỳnh Thanh Điền'),
    { kind: 'agency', certificate: 'none' },
    { kind: 'position', title: 'Chủ tịch', certificate: 'none' },
  ]);
  const opened = await directory.approve(admin, approved.id);
  own.account = opened.lines[0]?.account?.id as string;
  own.username = opened.lines[0]?.account?.username as string;
  own.position = opened.lines[2]?.account?.id as string;
  own.request = (await directory.submit(district, 'H41.32', [personLine('Trần Thị Bình')])).id;
  const created = async (by: TestClient, path: string, type: string, body: object | string) => {
    const answer = await supertest(directory.app).post(path).set('Authorization', by.bearer).type(type).send(body);
    if (answer.status > 299) throw new Error(`${path} was refused: ${answer.text}`);
    return answer.body.id as string;
  };
  own.draft = await created(district, '/v1/sheets?agencyCode=H41.32', 'text/csv', sheet());
  const system = { name: 'quynh-luu', displayName: 'Một cửa', agencyCode: 'H41.32', readScopes: ['names:H41.32'] };
  own.system = await created(admin, '/v1/service-accounts', 'json', system);
  own.run = await created(admin, '/v1/reconciliations', 'json', { mode: 'report', agencyCode: 'H41.32' });
});
afterAll(() => directory.stop());

/** Every row of every table, as one line a table. */
async function record(): Promise<Record<string, string>> {
  const tables: string[] = await directory
    .owner('pg_catalog.pg_tables')
    .where({ schemaname: 'directory' })
    .whereNotIn('tablename', ['rate_limits', 'migrations_lock'])
    .pluck('tablename');
  const rows: Record<string, string> = {};
  for (const table of tables) {
    const result = await directory.owner.raw(
      `select count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') as content from directory.?? t`,
      [table],
    );
    rows[table] = result.rows[0].content;
  }
  return rows;
}

it('has a row for every guarded route that the app has', async () => {
  const { body } = await supertest(directory.app).get('/openapi.json').expect(200);
  const guarded = Object.entries(body.paths as Record<string, Record<string, { security: object[] }>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods)
        .filter(([, { security }]) => security.length > 0)
        .map(([method]) => `${method} ${path}`),
  );
  expect(Object.keys(attempts).sort()).toEqual(guarded.sort());
});

describe.each(Object.entries(attempts))('%s', (name, tried) => {
  const [method = '', path = ''] = name.split(' ');
  it.each([tried].flat().map((attempt, index) => [index, attempt] as const))(
    'shows and changes nothing of another district (%i)',
    async (_, { url, body, type, status, items = 'items' }) => {
      const before = await record();
      const request = supertest(directory.app)[method as 'get'](url(path)).set('Authorization', neighbour.bearer);
      const answer = await (body ? request.type(type ?? 'json').send(body()) : request);
      expect({ status: answer.status, text: status === answer.status ? '' : answer.text }).toEqual({
        status,
        text: '',
      });
      if (status === 200) {
        expect(Array.isArray(answer.body[items])).toBe(true);
        const ids = items === 'results' ? [] : Object.values(own);
        for (const secret of [...ids, 'H41.32'])
          expect(answer.body[items].filter((item: object) => JSON.stringify(item).includes(secret))).toEqual([]);
      } else expect(answer.text).not.toMatch(/Quỳnh Lưu|Điền|Bình/);
      expect(await record()).toEqual(before);
    },
  );
});

it('what is refused to the neighbour is shown to the district itself', async () => {
  const district = await directory.client('H41.32', permissions);
  const get = (url: string) => supertest(directory.app).get(url).set('Authorization', district.bearer).expect(200);
  expect((await get(`/v1/accounts?q=${own.account}`)).body.items).toHaveLength(1);
  expect((await get(`/v1/requests/${own.request}`)).body.id).toBe(own.request);
  expect((await get(`/v1/audit-events?subjectId=${own.account}`)).body.items.length).toBeGreaterThan(0);
});
