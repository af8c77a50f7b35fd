/**
 * A year in the life of a province, by the command line alone: its agencies, a staff sheet with faults, approval, search, a
 * suspension, LDAP changed by hand and put right, slips, exports. Beside it the failure twin: the service dies in the middle of a
 * large approval.
 */
import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '@congvu/local/process';
import { waitUntil, withDirectory } from '@congvu/local/province';
import { samplePeopleCsv, sampleSheet } from '@congvu/local/sample-sheets';
import { repository } from '@congvu/local/state';
import { readRows, spreadsheetMediaType } from '@congvu/spreadsheet';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { type Platform, startPlatform } from './platform.ts';

let platform: Platform;
let scratch: string;
beforeAll(async () => {
  platform = await startPlatform('province', 25_400);
  scratch = platform.engines.stateDirectory;
}, 120_000);
afterAll(() => platform?.stop(), 60_000);

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}
type Who = 'requester' | 'administrator' | 'auditor' | 'province' | 'approver' | 'away' | 'nobody';

/** The command as its user types it, each user with credentials of their own. */
const congvu = (who: Who, ...args: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    const env = { ...process.env, CONGVU_CREDENTIALS: join(scratch, `${who}.json`), LANG: 'en_US.UTF-8' };
    execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(repository, 'packages/cli/src/congvu.ts'), ...args],
      { env, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
    );
  });

async function json<T>(who: Who, ...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await congvu(who, '--json', ...args);
  if (code !== 0) throw new Error(`congvu ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

const file = (name: string): string => join(scratch, name);

interface Line {
  state: string;
  refusedCount: number;
  id: string;
  lineCount: number;
  fulfilledCount: number;
}

describe('before anything', () => {
  test('help in both languages; a wrong call, and nobody logged in, say so by exit code', async () => {
    expect((await congvu('nobody', '--lang', 'vi', 'requests', 'approve', '--help')).stdout).toMatch(
      /Cách dùng:.*Ví dụ:/s,
    );
    expect((await congvu('nobody', 'requests', 'approve', '--help')).stdout).toMatch(/Usage:.*Examples:/s);
    expect(await congvu('nobody', 'accounts', 'suspend', 'x')).toMatchObject({ code: 2 });
    expect(await congvu('nobody', 'requests', 'list')).toMatchObject({ code: 3, stdout: '' });
  });

  test('who logs in with a wrong secret is not; the credentials are for their owner alone', async () => {
    writeFileSync(file('wrong.secret'), 'w'.repeat(40));
    const { services, clients } = platform.description;
    const { clientId } = clients.administrator;
    const wrong = ['login', '--directory', services.directory, '--client-id', clientId];
    expect(await congvu('administrator', ...wrong, '--secret-file', file('wrong.secret'))).toMatchObject({ code: 3 });
    for (const who of ['requester', 'administrator', 'auditor'] as const) {
      const stack = `${platform.engines.stateDirectory}.json`;
      expect(await congvu(who, 'login', '--stack', stack, '--as', who)).toMatchObject({ code: 0, stdout: '' });
    }
    expect(statSync(file('administrator.json')).mode & 0o777).toBe(0o600);
    expect(await json('administrator', 'whoami')).toMatchObject({ clientId, agencyCode: 'H41' });
    // Where nobody answers, what is remembered is no proof.
    const remembered = JSON.parse(readFileSync(file('administrator.json'), 'utf8'));
    writeFileSync(file('away.json'), JSON.stringify({ ...remembered, directoryUrl: 'http://127.0.0.1:9' }), {
      mode: 0o600,
    });
    expect(await congvu('away', 'whoami')).toMatchObject({ code: 7, stdout: '' });
  });
});

describe('agencies', () => {
  const sample = join(repository, 'infra/local/sample/nghe-an/agencies.csv');

  test('a dry run writes nothing; the import takes all 845; again it changes nothing', async () => {
    const none = { added: 845, changed: 0, unchanged: 0 };
    expect(await json('administrator', 'agencies', 'import', sample, '--dry-run')).toMatchObject(none);
    expect(await json<unknown[]>('administrator', 'agencies', 'list')).toEqual([]);
    expect(await json('administrator', 'agencies', 'import', sample)).toMatchObject(none);
    expect(await json('administrator', 'agencies', 'import', sample)).toMatchObject({ added: 0, unchanged: 845 });
  });

  test('a faulty file is refused with its cells and changes nothing', async () => {
    const rows = ['code,name,level,parent_code,mail_domain', 'H41.99,Sở Thử,department,H41.98,nghean.gov.vn'];
    writeFileSync(file('faulty.csv'), rows.join('\n'));
    const { code, stderr } = await congvu('administrator', 'agencies', 'import', file('faulty.csv'));
    expect(code).toBe(5);
    expect(stderr).toMatch(/D2.*H41\.98/);
    expect(await congvu('administrator', 'agencies', 'show', 'H41.99')).toMatchObject({ code: 4 });
  });

  test('found without marks; the tree below a district', async () => {
    const found = await json<{ code: string }[]>('administrator', 'agencies', 'list', '-q', 'quynh luu');
    expect(found.map(({ code }) => code)).toContain('H41.32');
    const { stdout } = await congvu('administrator', 'agencies', 'tree', 'H41.32');
    expect(stdout).toMatch(/^H41\.32 .*\n {2}H41\.32\.\d\d /);
  });
});

describe('a staff sheet', () => {
  let request: Line;
  const name = 'danh-sach-ubnd-quynh-luu.xlsx' as const;

  test('becomes a draft; what is refused is said with its cell, and the exit code says that something was', async () => {
    writeFileSync(file(name), await sampleSheet(name), { mode: 0o600 });
    const { code, stdout } = await congvu(
      'requester',
      '--json',
      'sheets',
      'submit',
      file(name),
      '--agency',
      'H41.32',
      '--send',
    );
    expect(code).toBe(5);
    request = JSON.parse(stdout);
    expect(request).toMatchObject({ state: 'draft', lineCount: 119 });
    expect(request.refusedCount).toBeGreaterThan(0);
    const shown = await congvu('requester', 'requests', 'show', request.id, '--state', 'refused');
    expect(shown.stdout).toMatch(/C14/);
  });

  test('comes back as the same sheet with a column of remarks', async () => {
    expect(await congvu('requester', 'sheets', 'remarks', request.id, '-o', file('remarks.xlsx'))).toMatchObject({
      code: 0,
    });
    const cells = async (which: string) => {
      const found: string[][] = [];
      for await (const row of readRows(readFileSync(file(which)), spreadsheetMediaType))
        found.push(row.cells.map(({ value }) => String(value ?? '')));
      return found;
    };
    const [before, after] = [await cells(name), await cells('remarks.xlsx')];
    const width = Math.max(...before.map((row) => row.length));
    expect(after.map((row) => row.slice(0, width).join('|').replace(/\|*$/, ''))).toEqual(
      before.map((row) => row.join('|').replace(/\|*$/, '')),
    );
    expect(after.flat()).toContain('Kết quả kiểm tra');
  });

  test('is sent without the refused lines; the administrator previews names, approves and follows', async () => {
    const sent = await json<Line>('requester', 'requests', 'submit', request.id, '--leave-out-refused');
    expect(sent.state).toBe('submitted');
    expect(await congvu('requester', 'requests', 'approve', request.id)).toMatchObject({ code: 3 });
    const preview = await json<{ username: string }[]>('administrator', 'requests', 'usernames', request.id);
    expect(new Set(preview.map(({ username }) => username)).size).toBe(preview.length);
    const done = await json<Line>(
      'administrator',
      'requests',
      'approve',
      request.id,
      '--lines',
      '1-5,7-12',
      '--follow',
    );
    expect(done.state).toBe('fulfilled');
    expect(done.fulfilledCount).toBeGreaterThan(8);
    const opened = await json<{ username: string }[]>('administrator', 'accounts', 'search', '--agency', 'H41.32');
    const wanted = preview.map(({ username }) => username);
    expect(opened.map(({ username }) => username).every((username) => wanted.includes(username))).toBe(true);
    expect(opened).toHaveLength(done.fulfilledCount);
  });

  test('its people are found by parts of names without marks, and not by who works elsewhere', async () => {
    const found = await json<{ displayName: string }[]>('administrator', 'accounts', 'search', 'vo huu duc');
    expect(found.map(({ displayName }) => displayName)).toEqual(['Võ Hữu Đức']);
    expect((await congvu('administrator', 'accounts', 'search', 'quynh luu')).stdout).toMatch(/Võ Hữu Đức/);
    expect(await json('administrator', 'accounts', 'search', 'so noi vu')).toEqual([]);
  });

  test('slips are a PDF for their owner alone; the agency hands them over', async () => {
    expect(await congvu('requester', 'accounts', 'slips', request.id, '-o', file('slips.pdf'))).toMatchObject({
      code: 0,
    });
    expect(readFileSync(file('slips.pdf')).subarray(0, 5).toString()).toBe('%PDF-');
    expect(statSync(file('slips.pdf')).mode & 0o777).toBe(0o600);
  });
});

test('a suspension with an end is in LDAP at once and ends by itself', async () => {
  const status = () =>
    withDirectory(platform.description, async (directory) =>
      String((await directory.entry('ducvh'))?.attributes.congvuAccountStatus),
    );
  const until = new Date(Date.now() + 3_000).toISOString();
  const suspended = await json(
    'administrator',
    'accounts',
    'suspend',
    'ducvh',
    '--reason',
    'Nghỉ phép',
    '--until',
    until,
  );
  expect(suspended).toMatchObject({ state: 'suspended' });
  expect(await congvu('administrator', 'accounts', 'suspend', 'ducvh', '--reason', 'Lại')).toMatchObject({ code: 6 });
  await waitUntil('the suspension in LDAP', status, (value) => value === 'suspended', 10_000);
  await waitUntil('its end', status, (value) => value === 'active', 90_000);
}, 120_000);

describe('LDAP changed by hand', () => {
  const administrator = () => platform.engines.openldap.credentials('directory');
  const byHand = async (command: string, ldif: string) => {
    const { dn, password } = administrator();
    writeFileSync(file('password'), password, { mode: 0o600 });
    writeFileSync(file('change.ldif'), ldif);
    const { url } = platform.description.ldap;
    await run(command, ['-x', '-H', url, '-D', dn, '-y', file('password'), '-f', file('change.ldif')]);
  };
  const people = 'ou=people,dc=nghean,dc=gov,dc=vn';
  const entries = () =>
    withDirectory(platform.description, async (directory) =>
      (await directory.people())
        .map(({ dn, attributes }) => `${dn} ${JSON.stringify(Object.entries(attributes).sort())}`)
        .sort(),
    );
  let before: string[];

  test('is reported with what, who and when; a report changes nothing', async () => {
    // The hold of the suspended one's certificate ends a moment after the suspension.
    before = await waitUntil('every certificate', entries, (now) => now.every((entry) => entry.includes('"Buffer"')));
    const gone = before.find((entry) => !entry.startsWith('uid=ducvh'))?.split(' ')[0] as string;
    await byHand('ldapmodify', `dn: uid=ducvh,${people}\nchangetype: modify\nreplace: title\ntitle: Vua\n`);
    await byHand('ldapdelete', `${gone}\n`);
    const { code, stdout } = await congvu('administrator', '--json', 'reconcile', 'run');
    expect(code).toBe(5);
    const report = JSON.parse(stdout);
    expect(report.findings).toMatchObject({ missing: 1, changed: 1, extra: 0 });
    const findings = await json<Record<string, string>[]>('administrator', 'reconcile', 'findings', report.id);
    const { dn } = administrator();
    expect(findings).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ kind: 'changed', attribute: 'title', actual: ['Vua'], lastModifiedBy: dn }),
        expect.objectContaining({ kind: 'missing', dn: gone, lastModifiedBy: dn }),
      ]),
    );
    for (const finding of findings)
      expect(Date.now() - Date.parse(finding.lastModifiedAt as string)).toBeLessThan(60_000);
    expect(await entries()).not.toEqual(before);
  });

  test('is put right, mail attributes and all, and then there is nothing to find', async () => {
    const repaired = await json<{ state: string }>('administrator', 'reconcile', 'run', '--repair');
    expect(repaired).toMatchObject({ state: 'completed', findings: { repaired: 2, failed: 0 } });
    await waitUntil('all as it was', entries, (now) => JSON.stringify(now) === JSON.stringify(before), 30_000);
    expect(await json('administrator', 'reconcile', 'run')).toMatchObject({
      findings: { missing: 0, changed: 0, extra: 0 },
    });
  });
});

test('everything is exported whole, and the auditor reads who did what on which decision', async () => {
  const [{ count } = { count: 0 }] = await platform.query<{ count: number }>(
    'select count(*)::int as count from directory.audit_events',
  );
  expect(await congvu('auditor', 'export', 'audit', '--format', 'jsonl', '-o', file('audit.jsonl'))).toMatchObject({
    code: 0,
  });
  const events = readFileSync(file('audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(events).toHaveLength(count);
  const opened = events.find(({ action }) => action === 'account.opened');
  expect(opened).toMatchObject({
    actorName: expect.stringContaining('IT admin'),
    sourceIp: '127.0.0.1',
    decisionNumber: '123/UBND-VP',
  });
  expect(readFileSync(file('audit.jsonl'), 'utf8')).not.toMatch(/"\d{12}"/);
  expect(await congvu('auditor', 'export', 'accounts', '-o', file('accounts.csv'))).toMatchObject({ code: 0 });
  const [{ accounts } = { accounts: 0 }] = await platform.query<{ accounts: number }>(
    'select count(*)::int as accounts from directory.accounts',
  );
  expect(readFileSync(file('accounts.csv'), 'utf8').trim().split('\r\n')).toHaveLength(accounts + 1);
  expect(
    await congvu('auditor', 'export', 'certificates', '--agency', 'H41', '-o', file('certificates.csv')),
  ).toMatchObject({ code: 0 });
  const [header, ...certificates] = readFileSync(file('certificates.csv'), 'utf8').trim().split('\r\n');
  expect(header).toContain('serialNumber');
  expect(certificates.length).toBeGreaterThan(0);
  expect(await congvu('auditor', 'accounts', 'suspend', 'ducvh', '--reason', 'Thử')).toMatchObject({ code: 3 });
});

test('the services die in the middle of a large approval: every line is carried out, once', async () => {
  // 1. A sheet of the whole province, sent by a client for the whole province.
  const { administrator } = platform.clients;
  const body = { name: 'Cả tỉnh', agencyCode: 'H41', role: 'requester' };
  const client = await administrator.call(
    'directory',
    '/v1/clients',
    z.object({ id: z.string(), clientSecret: z.string() }),
    { body },
  );
  writeFileSync(file('province.secret'), client.clientSecret, { mode: 0o600 });
  const { directory } = platform.description.services;
  const login = ['login', '--directory', directory, '--client-id', client.id, '--secret-file', file('province.secret')];
  expect(await congvu('province', ...login)).toMatchObject({ code: 0 });
  const unknown = await congvu('province', 'export', 'certificates', '-o', file('none.csv'));
  expect(unknown).toMatchObject({ code: 2, stderr: expect.stringMatching(/--certificate/) });
  const people = (await samplePeopleCsv(1_500)).toString().trimEnd().split('\r\n');
  // Without certificates: a thousand key pairs take longer than everything else here.
  const rows = people.map((row, index) => `${row},${index === 0 ? 'certificate' : 'không'}`);
  writeFileSync(file('people.csv'), `${rows.join('\r\n')}\r\n`, { mode: 0o600 });
  const sheet = [file('people.csv'), '--agency', 'H41', '--send', '--leave-out-refused'];
  const request = await json<Line>('province', 'sheets', 'submit', ...sheet);
  const lines = request.lineCount - request.refusedCount;
  expect(lines).toBeGreaterThan(1_400);

  // 2. The client that made this one may not decide on what it asks; another does, while the services die.
  expect(await congvu('administrator', 'requests', 'approve', request.id)).toMatchObject({ code: 3 });
  const approver = { ...body, name: 'Người duyệt', role: 'approver' };
  const second = await administrator.call(
    'directory',
    '/v1/clients',
    z.object({ id: z.string(), clientSecret: z.string() }),
    { body: approver },
  );
  writeFileSync(file('approver.secret'), second.clientSecret, { mode: 0o600 });
  expect(
    await congvu(
      'approver',
      'login',
      '--directory',
      directory,
      '--client-id',
      second.id,
      '--secret-file',
      file('approver.secret'),
    ),
  ).toMatchObject({ code: 0 });
  const killing = (async () => {
    for (let round = 0; round < 4; round += 1) {
      await sleep(500);
      await platform.services.processes[round % 2 === 0 ? 'directory' : 'mailbox'].kill();
    }
  })();
  await waitUntil(
    'the approval',
    async () => {
      const { code } = await congvu('approver', 'requests', 'approve', request.id);
      return [0, 6].includes(code); // 6: approved, and only the answer was lost
    },
    Boolean,
  );
  await killing;

  // 3. Everything stands, once.
  await waitUntil(
    'the directory service',
    () => congvu('approver', 'requests', 'show', request.id),
    ({ code }) => code === 0,
  );
  const done = await json<Line>('approver', 'requests', 'follow', request.id);
  expect(done).toMatchObject({ state: 'fulfilled', fulfilledCount: lines });
  const counts = await platform.query(
    `select count(distinct l.account_id)::int as accounts, count(distinct u.username)::int as names,
       (select count(*)::int from directory.audit_events e where e.request_id = $1 and e.action = 'account.opened') as events
     from directory.request_lines l join directory.usernames u on u.account_id = l.account_id where l.request_id = $1`,
    [request.id],
  );
  expect(counts).toEqual([{ accounts: lines, names: lines, events: lines }]);
  const none = { missing: 0, changed: 0, extra: 0 };
  expect(await json('administrator', 'reconcile', 'run')).toMatchObject({ findings: none });
}, 300_000);
