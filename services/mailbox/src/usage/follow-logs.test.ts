import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { appendFile, copyFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestAccount } from '@congvu/database/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import pino from 'pino';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { countStretch, followLogs } from './follow-logs.ts';

let mailbox: TestMailbox;
let directory: string;
let receiver: TestAccount;
let sender: TestAccount;
beforeAll(async () => {
  mailbox = await startTestMailbox();
});
afterAll(() => mailbox.stop());
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'congvu-logs-'));
  [receiver, sender] = [await boxed(), await boxed()];
  await mailbox.owner('mailbox.log_positions').delete();
});
afterEach(() => rmSync(directory, { recursive: true }));

const boxed = async (): Promise<TestAccount> => {
  const account = await mailbox.account();
  const { id, address } = account;
  await mailbox.database('mailbox.mailboxes').insert({ account_id: id, address, state: 'active', quota_bytes: 1 });
  return account;
};
const path = () => join(directory, 'postfix.log');
const postfix = () => ({ name: 'postfix', path: path() }) as const;

let messages = 0;
/** The lines of one message, handed in by the sender and delivered to the receiver under an old address. */
function message(): string {
  messages += 1;
  const id = `Q${messages.toString(16).toUpperCase()}`;
  const head = 'Nov 22 00:31:18 mail postfix';
  return [
    `${head}/submission/smtpd[1]: ${id}: client=h[10.0.0.1], sasl_method=PLAIN, sasl_username=${sender.address}`,
    `${head}/cleanup[1]: ${id}: message-id=<${id}@x>`,
    `${head}/qmgr[1]: ${id}: from=<${sender.address}>, size=454, nrcpt=1 (queue active)`,
    `${head}/lmtp[1]: ${id}: to=<${receiver.address}>, orig_to=<cu.${receiver.address}>, relay=h[10.0.0.1]:24, delay=0.02, delays=0.01/0/0/0.01, dsn=2.0.0, status=sent (250 2.0.0 <${receiver.address}> T${id} Saved)`,
    `${head}/qmgr[1]: ${id}: removed`,
    '',
  ].join('\n');
}
const several = (count: number): string => Array.from({ length: count }, message).join('');

/** Until there is nothing new. Whether lines were lost. */
async function countAll(): Promise<boolean> {
  let isAfterLoss = false;
  for (;;) {
    const outcome = await countStretch(mailbox.database, postfix());
    isAfterLoss ||= outcome.isAfterLoss;
    if (outcome.lineCount === 0) return isAfterLoss;
  }
}
async function counted() {
  const usage = (account: TestAccount) => mailbox.database('mailbox.usage').where({ mailbox_id: account.id }).first();
  const sum = async (table: string, where: object, column: string) =>
    Number((await mailbox.database(table).where(where).sum({ sum: column }).first())?.sum);
  return {
    received: Number((await usage(receiver)).received_count),
    sent: Number((await usage(sender)).sent_count),
    days: await sum('mailbox.usage_days', { mailbox_id: receiver.id }, 'received'),
    uses: await sum('mailbox.address_uses', { address: `cu.${receiver.address}` }, 'uses'),
    underWay: Number((await mailbox.database('mailbox.messages_under_way').count().first())?.count),
  };
}
const all = (count: number) => ({ received: count, sent: count, days: count, uses: count, underWay: 0 });

test('each line counts once, a half-written one when it is whole', async () => {
  const lines = several(3);
  const cut = lines.length - 150;
  await writeFile(path(), lines.slice(0, cut));
  await countAll();
  expect((await counted()).received).toBe(2);
  await countAll();
  await appendFile(path(), lines.slice(cut));
  await countAll();
  await countAll();
  expect(await counted()).toEqual(all(3));
});

test('rotated twice while nobody looked: everything once, in whatever stretches', async () => {
  await writeFile(path(), several(5));
  await countAll();
  await appendFile(path(), several(2));
  await rename(path(), `${path()}.2`);
  await sleep(20);
  await writeFile(path(), several(4));
  await rename(path(), `${path()}.1`);
  expect(await countAll()).toBe(false);
  expect((await counted()).received).toBe(11);
  // Renamed, and not yet opened anew: it is still written to.
  await appendFile(`${path()}.1`, several(1));
  await writeFile(path(), '');
  await countAll();
  await appendFile(`${path()}.1`, several(1));
  await countAll();
  await appendFile(path(), several(6));
  expect(await countAll()).toBe(false);
  expect(await counted()).toEqual(all(19));
});

test('copied and truncated: what was not read yet is read from the copy, and nothing twice', async () => {
  await writeFile(path(), several(5));
  await countAll();
  await appendFile(path(), several(2));
  await sleep(20);
  await copyFile(path(), `${path()}.1`);
  await truncate(path());
  await appendFile(path(), several(30));
  expect(await countAll()).toBe(false);
  await appendFile(path(), several(1));
  await countAll();
  expect(await counted()).toEqual(all(38));
});

test('truncated without a copy, or gone: the loss is told, and counting goes on', async () => {
  await writeFile(path(), several(5));
  await countAll();
  await truncate(path());
  await appendFile(path(), several(2));
  expect(await countAll()).toBe(true);
  expect(await countAll()).toBe(false);
  await rm(path());
  expect(await countAll()).toBe(false);
  // A file system gives the number again at once.
  await writeFile(path(), several(3));
  await appendFile(path(), several(20));
  expect(await countAll()).toBe(true);
  expect(await counted()).toEqual(all(30));
});

test('while nothing is written the database is not asked; what is written is counted, to a renamed log too', async () => {
  const counts = async (count: number): Promise<void> => {
    for (const until = Date.now() + 10_000; (await counted()).received < count && Date.now() < until; ) await sleep(50);
    expect(await counted()).toEqual(all(count));
  };
  await writeFile(path(), several(2));
  const follower = followLogs({ database: mailbox.database, logs: [postfix()], log: pino({ level: 'silent' }) });
  try {
    await counts(2);
    await sleep(700); // read to its end
    let queries = 0;
    const note = (): void => {
      queries += 1;
    };
    mailbox.database.on('query', note);
    await sleep(1_600);
    mailbox.database.off('query', note);
    expect(queries).toBe(0);

    await appendFile(path(), several(1));
    await counts(3);
    await rename(path(), `${path()}.1`);
    await writeFile(path(), '');
    await sleep(1_200);
    await appendFile(`${path()}.1`, several(1)); // Postfix has it open still
    await counts(4);
    await appendFile(path(), several(1));
    await counts(5);
  } finally {
    await follower.stop();
  }
});

test('what is no line of ours is passed over, a line without an end too', async () => {
  const noise = Buffer.alloc(3 * 1024 * 1024, 'x');
  await writeFile(path(), Buffer.concat([Buffer.from([0xff, 0xfe, 0x0a]), noise, Buffer.from('\n')]));
  await appendFile(path(), several(2));
  await countAll();
  expect(await counted()).toEqual(all(2));
});

test('a failure between the counts and the position leaves neither', async () => {
  await writeFile(path(), several(4));
  await mailbox.owner.raw(`
    create function mailbox.refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
    create trigger refuse before insert on mailbox.log_positions for each row execute function mailbox.refuse()`);
  await expect(countAll()).rejects.toThrow('refused');
  expect((await counted()).received).toBe(0);
  await mailbox.owner.raw('drop function mailbox.refuse cascade');
  await countAll();
  expect(await counted()).toEqual(all(4));
});

const follower = () => {
  const started = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'testing-follower.ts')],
    { stdio: ['pipe', 'ignore', 'inherit'] },
  );
  started.stdin.end(JSON.stringify({ url: mailbox.testDatabase.urlAs('mailbox'), logs: [postfix()] }));
  return started;
};

test('killed again and again in the middle of its work, two at once, it counts every line once, in little memory', async () => {
  const count = 20_000;
  const file = createWriteStream(path());
  for (let written = 0; written < count; written += 1_000) if (!file.write(several(1_000))) await once(file, 'drain');
  await new Promise((resolve) => file.end(resolve));
  let kills = 0;
  let peak = 0;
  const received = async () => (await counted()).received;
  for (let before = 0; before < count; before = await received()) {
    const followers = [follower(), follower()];
    const exits = followers.map((one) => once(one, 'exit'));
    while ((await received()) === before) await sleep(10);
    await sleep(15 * (kills % 4));
    for (const one of followers) {
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${one.pid}/status`, 'utf8'))?.[1]));
      one.kill('SIGKILL');
    }
    await Promise.all(exits);
    kills += 1;
  }
  await countAll();
  expect(await counted()).toEqual(all(count));
  expect(kills).toBeGreaterThan(2);
  expect(peak).toBeLessThan(250_000);
}, 120_000);
