/**
 * The disk of the register fills up while certificates are signed: a real one, of a megabyte, that holds the table of certificates alone.
 * It is mounted, which takes a root that may; other runs leave this file out.
 */
import { spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testStack } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import supertest from 'supertest';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { finishIssuing } from './finish-issuing.ts';

const disk = mkdtempSync(join(tmpdir(), 'congvu-disk-'));
const filler = join(disk, 'filler');
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'tmpfs', disk]).status === 0;
const onSmallDisk = isMounted ? test : test.skip;
const tablespace = `small_${process.pid}`;

let service: TestCertificates;
let superuser: pg.Client;

beforeAll(async () => {
  service = await startTestCertificates();
  if (!isMounted) return;
  const url = new URL(testStack().postgres.urls.superuser);
  url.pathname = new URL(service.testDatabase.urlAs('owner')).pathname;
  superuser = new pg.Client({ connectionString: url.href });
  await superuser.connect();
  const { rows } = await superuser.query('show data_directory');
  const { uid, gid } = statSync(rows[0].data_directory);
  chownSync(disk, uid, gid);
  await superuser.query(`create tablespace ${tablespace} location '${disk}'`);
  await superuser.query(`alter table certificate.certificates set tablespace ${tablespace}`);
});
afterAll(async () => {
  try {
    if (isMounted) {
      rmSync(filler, { force: true });
      await superuser.query('alter table certificate.certificates set tablespace pg_default');
      await superuser.query(`drop tablespace ${tablespace}`);
      await superuser.end();
    }
    await service.stop();
  } finally {
    if (isMounted) spawnSync('umount', ['--lazy', disk]);
    rmdirSync(disk);
  }
});

/** Leaves room for nothing. */
function fill(): void {
  try {
    writeFileSync(filler, Buffer.alloc(2 ** 20));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  }
}

onSmallDisk(
  'whoever asks is told to come again; with room again all that was begun is in the register, once',
  async () => {
    const bearer = await service.tokens.bearer({ permissions: ['certificates:enrol'], agency: 'H41' });
    const asked = await Promise.all(
      Array.from({ length: 24 }, async (_, index) => {
        const account = await service.account({ certificatePath: 'csr' });
        await service.converge(account);
        const [enrolment] = await service.enrolments(account);
        return { account, url: `/v1/enrolments/${enrolment!.id}/csr`, csr: service.csr(`disk ${index}`) };
      }),
    );
    const send = async ({ url, csr }: (typeof asked)[number]) => {
      const answer = await supertest(service.app).post(url).set('Authorization', bearer).send({ csr });
      return answer.status === 201 ? 'issued' : [answer.status, answer.body.code].join(' ');
    };

    // 1. Full: what finds no room any more is refused for now, and what was answered with a certificate is kept.
    const answers: string[] = [];
    for (const [index, one] of asked.entries()) {
      if (index === 1) fill(); // the first page has room for some
      answers.push(await send(one));
    }
    expect(new Set(answers)).toEqual(new Set(['issued', '503 database_unavailable']));
    for (const [index, { account }] of asked.entries()) {
      const states = (await service.certificates(account)).map(({ state }) => state);
      if (answers[index] === 'issued') expect(states).toEqual(['valid']);
      else expect(states).toEqual([]);
    }
    expect(await service.owner('certificate.intents')).not.toEqual([]);

    // 2. Room again, and a minute later: what was signed and could not be stored is stored by itself.
    rmSync(filler);
    await service
      .owner('certificate.intents')
      .update({ created_at: service.owner.raw("now() - interval '2 minutes'") });
    await finishIssuing(service);
    expect(await service.owner('certificate.intents')).toEqual([]);

    // 3. Asked again, each has its one certificate, and one event of it.
    expect(new Set(await Promise.all(asked.map(send)))).toEqual(new Set(['issued']));
    for (const { account } of asked) {
      const [certificate, ...others] = await service.certificates(account);
      expect(others).toEqual([]);
      expect(certificate!.state).toBe('valid');
      expect(service.verify(certificate!.certificate!)).toContain('OK');
      expect((await service.actions(account)).filter((action) => action === 'certificate.issued')).toHaveLength(1);
    }
  },
);
