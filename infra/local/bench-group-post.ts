/**
 * `group-post`: one message to the list of the whole province, from MAIL FROM until Postfix has it in its queue for every member, beside
 * the same message with the same recipients named in the envelope, a thousand at a time as Postfix takes them. Delivery waits
 * meanwhile, on both sides. The members are entries of LDAP alone: what Postfix reads is measured, and not how they came there.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Group, GroupDetail } from '@congvu/contracts';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { z } from 'zod';
import type { BenchOptions, Figure } from './bench.ts';
import type { LdapService } from './openldap.ts';
import type { Postfix } from './postfix.ts';
import { run } from './process.ts';
import { importAgencies, waitUntil } from './province.ts';
import { openSmtp } from './smtp-session.ts';
import { baseDn, connectClients, domain } from './stack.ts';

const text = `From: <ai-do@example.org>\nTo: <tatca@${domain}>\nSubject: group-post\n\n${'Kính gửi toàn thể.\n'.repeat(50)}`;
/** smtpd_recipient_limit, Postfix's own. */
const perMessage = 1_000;

export async function measureGroupPost(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  const { postfix } = stack.engines;
  if (!postfix) throw new Error('group-post needs Postfix, and so root');
  const clients = connectClients(stack.description);
  await importAgencies(clients);
  const list = await provinceList(clients.administrator, `tatca@${domain}`);
  say(`group-post: ${size} people …`);
  const addresses = await addPeople(options, size);
  await holdDeliveries(options, postfix);

  const posted = await fastest(options, postfix, 'to the list', { size, rounds: 3 }, () => send(postfix, [list]));
  const entry = await entrySize(options);
  say(`the list's entry: ${entry} octets of LDIF`);
  // Once: minutes, of which one more or less changes nothing.
  const named = await fastest(options, postfix, 'in the envelope', { size, rounds: 1 }, () => send(postfix, addresses));
  return {
    value: size / posted,
    unit: 'recipients/s',
    floor: 'the same recipients in the envelope',
    floorValue: size / named,
    ratio: named / posted,
  };
}

/** For anyone to write to, so that both sides come without a log-in. */
async function provinceList(
  administrator: ReturnType<typeof connectClients>['administrator'],
  address: string,
): Promise<string> {
  const read = () =>
    administrator.call('mailbox', `/v1/groups?address=${address}`, z.object({ items: z.array(Group) }));
  const { items } = await waitUntil("the province's list", read, (page) => page.items.length === 1, 60_000);
  const [group] = items as [Group];
  await administrator.call('mailbox', `/v1/groups/${group.id}`, GroupDetail, {
    method: 'PATCH',
    body: { posting: 'anyone' },
  });
  return group.address;
}

async function addPeople({ stack }: BenchOptions, size: number): Promise<string[]> {
  const connect = (service: LdapService): Ldap => {
    const { dn, password } = stack.engines.openldap.credentials(service);
    return openLdap({ url: stack.engines.openldap.url, bindDn: dn, password, timeoutMs: 60_000 });
  };
  const [directory, mailbox] = [connect('directory'), connect('mailbox')];
  const people = Array.from({ length: size }, (_, index) => {
    const uid = `nguoi${index}`;
    return { uid, dn: distinguishedName({ uid }, `ou=people,${baseDn}`), address: `${uid}@${domain}` };
  });
  const made = await directory.applyAll(
    people.map(({ uid, dn }) => ({
      kind: 'add',
      dn,
      attributes: {
        objectClass: ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount'],
        uid: [uid],
        cn: [uid],
        sn: ['Người'],
        congvuAccountId: [randomUUID()],
        congvuAccountKind: ['person'],
        congvuAccountStatus: ['active'],
        congvuAgencyCode: ['H41.32'],
        congvuAgencyPath: ['H41', 'H41.32'],
      },
    })),
  );
  const given = await mailbox.applyAll(
    people.map(({ dn, address }) => ({
      kind: 'modify',
      dn,
      changes: Object.entries({ mail: address, congvuMailStatus: 'active', congvuMailQuotaBytes: '1000000' }).map(
        ([attribute, value]) => ({ attribute, operation: 'replace' as const, values: [value] }),
      ),
    })),
  );
  await Promise.all([directory.close(), mailbox.close()]);
  const refused = [...made, ...given].find((error) => error !== undefined);
  if (refused) throw refused;
  return people.map(({ address }) => address);
}

const configOf = ({ stack }: BenchOptions): string => join(stack.engines.stateDirectory, 'postfix/etc');

/** Everything stays in the queue, where it can be counted. */
async function holdDeliveries(options: BenchOptions, postfix: Postfix): Promise<void> {
  await run('/usr/sbin/postconf', ['-c', configOf(options), '-e', 'defer_transports=lmtp']);
  await run('/usr/sbin/postfix', ['-c', configOf(options), 'reload']);
  await send(postfix, [`thongbao@${domain}`]);
}

/** Seconds of the fastest round; each begins with an empty queue and must leave every recipient in it once. */
async function fastest(
  options: BenchOptions,
  postfix: Postfix,
  about: string,
  { size, rounds }: { size: number; rounds: number },
  work: () => Promise<void>,
): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < rounds; round += 1) {
    await run('/usr/sbin/postsuper', ['-c', configOf(options), '-d', 'ALL']);
    const processor = processorSeconds(options);
    const began = performance.now();
    await work();
    const seconds = (performance.now() - began) / 1_000;
    const spent = processorSeconds(options) - processor;
    const queued = await waitUntil('the whole queue', postfix.queue, (recipients) => recipients.length >= size);
    if (queued.length !== size || new Set(queued).size !== size)
      throw new Error(
        `${queued.length} recipients in the queue, ${new Set(queued).size} different ones, and not ${size}`,
      );
    say(options, about, seconds, spent);
    best = Math.min(best, seconds);
  }
  return best;
}

const say = (options: BenchOptions, about: string, seconds: number, spent: number): void =>
  options.say(`  ${about}: ${seconds.toFixed(2)} s; Postfix and OpenLDAP used ${spent.toFixed(2)} s of processor`);

async function send(postfix: Postfix, recipients: readonly string[]): Promise<void> {
  const session = await openSmtp({ port: postfix.smtpPort });
  const expect = (answer: string, code: string): void => {
    if (!answer.startsWith(code)) throw new Error(`Postfix answered ${answer}`);
  };
  try {
    for (let start = 0; start < recipients.length; start += perMessage) {
      expect(await session.command('MAIL FROM:<ai-do@example.org>'), '250');
      const some = recipients.slice(start, start + perMessage);
      for (const answer of await session.commands(some.map((to) => `RCPT TO:<${to}>`))) expect(answer, '250');
      expect(await session.command('DATA'), '354');
      expect(await session.message(text), '250');
    }
  } finally {
    session.close();
  }
}

async function entrySize({ stack }: BenchOptions): Promise<number> {
  const { dn, password } = stack.engines.openldap.credentials('reader');
  const file = stack.engines.state.writeFile('reader-password', password);
  const bind = ['-x', '-LLL', '-H', stack.engines.openldap.url, '-D', dn, '-y', file];
  return (await run('ldapsearch', [...bind, '-b', `cn=tatca,ou=groups,${baseDn}`, '-s', 'base'])).length;
}

/** Of slapd and of everything that Postfix's master started, what has ended included (proc(5)). */
function processorSeconds({ stack }: BenchOptions): number {
  const { openldap, postfix } = stack.engines;
  const processes = new Map<number, { parent: number; ticks: number }>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
        .map(Number);
      const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + (fields[at] as number), 0);
      processes.set(Number(name), { parent: fields[1] as number, ticks });
    } catch {
      // ended meanwhile
    }
  }
  const roots = [openldap.pid, postfix?.pid];
  const isOurs = (pid: number): boolean => {
    const found = processes.get(pid);
    return found !== undefined && (roots.includes(pid) || isOurs(found.parent));
  };
  let ticks = 0;
  for (const [pid, found] of processes) if (isOurs(pid)) ticks += found.ticks;
  return ticks / 100;
}
