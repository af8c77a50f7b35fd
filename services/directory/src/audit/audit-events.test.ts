/** The audit trail: whole, in order, confined to the reader's agencies, safe in a spreadsheet, and changed by nobody. */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { type AuditAction, type AuditEvent, auditActions } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import supertest from 'supertest';
import { startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { insertEvents } from './audit-store.ts';

const actions = ['account.opened', 'account.suspended', 'request.submitted'] as const;

let directory: TestDirectory;
let auditor: TestClient;
let district: TestClient;
let agencyIds: Map<string, string>;
const request = { id: '' };

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  await directory.owner('directory.audit_events').delete(); // of the import
  auditor = await directory.client('H41', ['audit:read']);
  district = await directory.client('H41.32', ['audit:read', 'requests:submit']);
  const rows = await directory.owner('directory.agencies');
  agencyIds = new Map(rows.map((row) => [row.code, row.id]));
  const [row] = await directory
    .owner('directory.requests')
    .insert({
      agency_id: agencyIds.get('H41.32'),
      submitted_by: district.id,
      body_hash: Buffer.from('x'),
      decision_number: '15/QĐ-UBND',
      decision_date: '2026-03-05',
    })
    .returning('id');
  request.id = row.id;

  // 60 events of three actions and three agencies, and some of none.
  const codes = ['H41.32', 'H41.32.05', 'H41.33', null];
  const events = Array.from({ length: 60 }, (_, index) => {
    const code = codes[index % codes.length];
    return {
      actor: { kind: 'client' as const, id: auditor.id, ip: '203.0.113.7', agencyCode: 'H41' },
      action: actions[index % actions.length] as AuditAction,
      subjectType: index % 2 ? 'account' : 'request',
      subjectId: `subject-${index % 5}`,
      agencyId: code ? (agencyIds.get(code) ?? null) : null,
      requestId: index % 6 ? null : request.id,
      before: index % 2 ? { state: 'active' } : null,
      after: { number: index },
    };
  });
  for (const part of [events.slice(0, 20), events.slice(20, 40), events.slice(40)])
    await insertEvents(directory.database, part);
});
afterAll(() => directory.stop());

const get = (query: string, by = auditor) =>
  supertest(directory.app).get(`/v1/audit-events${query}`).set('Authorization', by.bearer);
async function every(query: string, by = auditor): Promise<AuditEvent[]> {
  const events: AuditEvent[] = [];
  for (let path: string | undefined = query; path !== undefined; ) {
    const answer: supertest.Response = await get(path, by).expect(200);
    events.push(...answer.body.items);
    path = /^<\/v1\/audit-events(.+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
    expect(path === undefined).toBe(answer.body.nextCursor === null);
  }
  return events;
}
const ids = (events: readonly { id: string }[]) => events.map((event) => event.id);
const inRecord = async (where = 'true', values: readonly string[] = []): Promise<string[]> =>
  (await directory.owner('directory.audit_events').whereRaw(where, values).orderBy('id', 'desc').pluck('id')).map(
    String,
  );

describe('the list', () => {
  it('shows an event as it was written, with who and from where', async () => {
    const [event] = await every('?limit=1&subjectId=subject-4&action=request.submitted&subjectType=account');
    const [row] = await directory.owner('directory.audit_events').where({ id: event?.id });
    expect(event).toEqual({
      id: String(row.id),
      occurredAt: row.occurred_at.toISOString(),
      service: 'directory',
      actorKind: 'client',
      actorId: auditor.id,
      actorName: auditor.name,
      sourceIp: '203.0.113.7',
      action: 'request.submitted',
      subjectType: 'account',
      subjectId: 'subject-4',
      agencyCode: null,
      requestId: null,
      decisionNumber: null,
      decisionDate: null,
      before: { state: 'active' },
      after: row.after,
    });
  });

  it.each([1, 7, 60, 500])('gives each event exactly once, newest first, %i at a time', async (limit) => {
    expect(ids(await every(`?limit=${limit}`))).toEqual(await inRecord());
  });

  it('stays in step while events are added', async () => {
    const before = await inRecord();
    const first = await get('?limit=20').expect(200);
    const actor = { kind: 'system' as const, id: 'test', ip: null, agencyCode: null };
    await insertEvents(directory.database, [
      { actor, action: 'client.disabled', subjectType: 'x', subjectId: 'x', agencyId: null },
    ]);
    const rest = await every(`?limit=20&cursor=${first.body.nextCursor}`);
    expect([...ids(first.body.items), ...ids(rest)]).toEqual(before);
  });

  it('filters by action, subject, request and time, from page to page', async () => {
    expect(ids(await every('?limit=3&action=account.opened'))).toEqual(await inRecord("action = 'account.opened'"));
    const subject = "subject_type = 'request' and subject_id = 'subject-2'";
    expect(ids(await every('?limit=2&subjectType=request&subjectId=subject-2'))).toEqual(await inRecord(subject));
    const ofRequest = ids(await every(`?limit=4&requestId=${request.id}`));
    expect(ofRequest).toEqual(await inRecord('request_id = ?', [request.id]));
    expect(ofRequest).toHaveLength(10);
    const times: Date[] = await directory.owner('directory.audit_events').orderBy('id').pluck('occurred_at');
    const [from, to] = [times[20] as Date, times[40] as Date].map((time) => time.toISOString()) as [string, string];
    const between = ids(await every(`?limit=7&from=${from}&to=${to}`));
    expect(between).toEqual(
      await inRecord('occurred_at >= ?::timestamptz and occurred_at < ?::timestamptz', [from, to]),
    );
    expect(between.length).toBeGreaterThan(0);
    expect(await every(`?requestId=${randomUUID()}`)).toEqual([]);
  });

  it('filters by actor, service, decision and agency, and shows the decision', async () => {
    const ofDecision = await every(`?limit=4&decisionNumber=${encodeURIComponent('15/QĐ-UBND')}`);
    expect(ids(ofDecision)).toEqual(await inRecord('request_id = ?', [request.id]));
    expect(new Set(ofDecision.map((event) => `${event.decisionNumber} ${event.decisionDate}`))).toEqual(
      new Set(['15/QĐ-UBND 2026-03-05']),
    );
    expect(await every('?decisionNumber=16')).toEqual([]);
    expect(ids(await every(`?limit=9&actorId=${auditor.id}`))).toEqual(await inRecord('actor_id = ?', [auditor.id]));
    expect(ids(await every('?actorName=nobody'))).toEqual([]);
    expect(ids(await every(`?actorName=${encodeURIComponent(auditor.name)}`))).toEqual(
      await inRecord('actor_name = ?', [auditor.name]),
    );
    expect(ids(await every('?limit=50&service=directory'))).toEqual(await inRecord());
    expect(await every('?service=mailbox')).toEqual([]);
    const commune = [agencyIds.get('H41.32.05') as string];
    expect(ids(await every('?limit=4&agencyCode=000.05.32.H41'))).toEqual(await inRecord('agency_id = ?', commune));
    expect(ids(await every('?agencyCode=H41.32.05', district))).toEqual(await inRecord('agency_id = ?', commune));
    expect(await every('?agencyCode=H41.33', district)).toEqual([]);
  });

  it('begins with the oldest when asked', async () => {
    expect(ids(await every('?limit=7&order=asc'))).toEqual((await inRecord()).reverse());
    expect(ids(await every('?limit=7&order=asc', district))).toEqual(ids(await every('?limit=7', district)).reverse());
  });

  it('shows a district what happened at and below it, and nothing of nobody', async () => {
    const events = await every('?limit=7', district);
    expect(new Set(events.map((event) => event.agencyCode))).toEqual(new Set(['H41.32', 'H41.32.05']));
    const own = [agencyIds.get('H41.32'), agencyIds.get('H41.32.05')] as string[];
    expect(ids(events)).toEqual(await inRecord('agency_id in (?, ?)', own));
    expect(await every('?action=client.disabled', district)).toEqual([]);
  });

  it.each([
    'limit=0',
    'requestId=1',
    'from=yesterday',
    'colour=red',
    'cursor=x',
    `cursor=${Buffer.from('["x"]').toString('base64url')}`,
    `cursor=${Buffer.from('[1.5]').toString('base64url')}`,
  ])('refuses ?%s', async (query) => {
    const { status, body } = await get(`?${query}`);
    expect([status, body.errors?.[0].pointer]).toEqual([422, `query/${query.split('=')[0]}`]);
  });
});

describe('as CSV', () => {
  const csv = async (query = '', by = auditor) => {
    const answer = await get(query, by)
      .set('Accept', 'text/csv')
      .buffer(true)
      .parse((response, done) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => done(null, Buffer.concat(parts).toString('utf8')));
      });
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'text/csv; charset=utf-8']);
    const text: string = answer.body;
    return { text, rows: parse(text, { columns: true, bom: true }) as Record<string, string>[] };
  };

  it('has every event whatever the limit, more than a page of them', async () => {
    const actor = { kind: 'system' as const, id: 'test', ip: null, agencyCode: null };
    const many = Array.from({ length: 2_100 }, (_, index) => ({
      actor,
      action: 'client.set_up' as const,
      subjectType: 'x',
      subjectId: String(index),
      agencyId: null,
    }));
    await insertEvents(directory.database, many);
    const { text, rows } = await csv('?limit=5');
    expect(text.startsWith('\uFEFFid,occurredAt,service,')).toBe(true);
    expect(rows.map((row) => row.id)).toEqual(await inRecord());
    expect((await csv('?action=account.opened')).rows.map((row) => row.id)).toEqual(
      await inRecord("action = 'account.opened'"),
    );
    expect((await csv('', district)).rows).toHaveLength(30);
  });

  it('runs no formula in a spreadsheet, and breaks no row', async () => {
    const names = ['=cmd|calc', '+1', '-1', '@SUM(A1)', '\t=1', 'plain, "quoted"\nand broken', 'Nguyễn Văn An'];
    const actor = { kind: 'client' as const, id: auditor.id, ip: null, agencyCode: null };
    const events = names.map((name) => ({
      actor,
      action: 'client.changed' as const,
      subjectType: 'x',
      subjectId: name,
      agencyId: null,
      after: { name },
    }));
    await directory.owner('directory.clients').where({ id: auditor.id }).update({ name: '=HYPERLINK("x")' });
    await insertEvents(directory.database, events);
    const { text, rows } = await csv('?action=client.changed');
    expect(rows.map((row) => row.subjectId).reverse()).toEqual(
      names.map((name) => (/^[=+\-@\t]/.test(name) ? `'${name}` : name)),
    );
    expect(new Set(rows.map((row) => row.actorName))).toEqual(new Set([`'=HYPERLINK("x")`]));
    expect(rows.map((row) => JSON.parse(row.after ?? '')).reverse()).toEqual(names.map((name) => ({ name })));
    expect(text).not.toMatch(/(^|,)"?[=+@]/m);
  });
});

describe.each(['application/jsonl', 'application/x-ndjson'])('as %s', (type) => {
  it('has every event, one JSON text a line', async () => {
    const answer = await get('?limit=5')
      .set('Accept', type)
      .buffer(true)
      .parse((response, done) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => done(null, Buffer.concat(parts).toString('utf8')));
      });
    expect([answer.status, answer.headers['content-type']]).toEqual([200, `${type}; charset=utf-8`]);
    const lines: AuditEvent[] = (answer.body as string)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(ids(lines)).toEqual(await inRecord());
    expect(lines[0]).toEqual((await get('?limit=1').expect(200)).body.items[0]);
  });
});

const tablesOf = async (schemas: readonly string[]): Promise<string[]> =>
  (
    await directory.owner.raw(
      "select table_schema || '.' || table_name as name from information_schema.tables where table_schema = any(?)",
      [[...schemas]],
    )
  ).rows.map(({ name }: { name: string }) => name);

it('every action that any service records is in the table of actions', async () => {
  const services = new URL('../../../', import.meta.url);
  const files = readdirSync(services, { recursive: true, encoding: 'utf8' }).filter(
    (path) => /\/src\/.*\.ts$/.test(path) && !/\.test\.ts$|node_modules/.test(path),
  );
  const nouns = [...new Set(Object.keys(auditActions).map((action) => action.split('.')[0]))].join('|');
  const tables = new Set(await tablesOf(['certificate', 'mailbox']));
  const recorded = new Set<string>();
  for (const file of files) {
    const source = readFileSync(new URL(file, services), 'utf8');
    // `action: '…'`, the branches of a choice, and arguments; names of tables have a schema before them.
    for (const [, action = ''] of source.matchAll(new RegExp(`'((?:${nouns})\\.[a-z_]+)'`, 'g')))
      if (!tables.has(action) && action !== 'certificate.pem') recorded.add(action);
  }
  expect([...recorded].filter((action) => !(action in auditActions))).toEqual([]);
  expect(recorded.size).toBeGreaterThan(20);
});

describe('an event', () => {
  const denied = { code: '42501' };

  it('is changed, deleted or written past the one way in by no service', async () => {
    const before = await directory.owner('directory.audit_events').orderBy('id');
    const events = () => directory.database('directory.audit_events');
    await expect(events().update({ action: 'x' })).rejects.toMatchObject(denied);
    await expect(events().delete()).rejects.toMatchObject(denied);
    await expect(directory.database.raw('truncate directory.audit_events')).rejects.toMatchObject(denied);
    await expect(
      events().insert({
        service: 'mailbox',
        actor_kind: 'system',
        actor_id: 'x',
        action: 'x',
        subject_type: 'x',
        subject_id: 'x',
      }),
    ).rejects.toMatchObject(denied);
    await expect(directory.database.raw('drop table directory.audit_events')).rejects.toMatchObject(denied);
    expect(await directory.owner('directory.audit_events').orderBy('id')).toEqual(before);
  });

  it('goes with the transaction that it was written in', async () => {
    const before = await inRecord();
    const actor = { kind: 'system' as const, id: 'test', ip: null, agencyCode: null };
    const failing = directory.database.transaction(async (transaction) => {
      await insertEvents(transaction, [
        { actor, action: 'client.created', subjectType: 'x', subjectId: 'x', agencyId: null },
      ]);
      throw new Error('the fact did not come about');
    });
    await expect(failing).rejects.toThrow('did not come about');
    expect(await inRecord()).toEqual(before);
  });
});
