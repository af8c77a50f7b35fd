/** Mailboxes that several people or a program use, on the real programs: who reads, writes and sends as them, and when no longer. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ImapFlow } from 'imapflow';
import { connectDoveadm } from '../dovecot/doveadm.ts';
import { startTestMail, type TestMail, until } from '../testing-mail.ts';
import { applySettings } from './apply-settings.ts';
import { convergeAccess } from './converge-access.ts';
import { convergeMailboxes } from './converge-mailboxes.ts';
import { convergeOwnMailbox, ownMailboxDn } from './converge-own-mailbox.ts';
import { lockMailboxes } from './mailbox-store.ts';
import { touchShared } from './rights-store.ts';

let mail: TestMail;
let counter = 0;
beforeAll(async () => {
  mail = await startTestMail();
});
afterAll(async () => {
  const { baseDn } = mail;
  const entries = await mail.ldap.search(`ou=mailboxes,${baseDn}`, { scope: 'one', attributes: ['uid'] });
  for (const { dn } of entries) if (/^uid=(chung|mayquet)\d+,/.test(dn)) await mail.ldap.remove(dn);
  await mail.stop();
});

const make = async (kind: 'shared' | 'service', options: { quotaBytes?: number; agencyCode?: string } = {}) => {
  counter += 1;
  const localPart = `${kind === 'shared' ? 'chung' : 'mayquet'}${counter}`;
  const input = { kind, localPart, displayName: `Phòng ${counter}`, agencyCode: 'H41.12', ...options };
  return (await mail.ask('post', '/v1/mailboxes', input, 201)).body as {
    accountId: string;
    address: string;
    secret: string | null;
    version: number;
  };
};
const give = (box: { accountId: string }, holder: TestAccount, rights: string[]) =>
  mail.ask('put', `/v1/mailboxes/${box.accountId}/rights/${holder.id}`, { rights });
const folder = (address: string) => `shared/${address}/INBOX`;

/** In a session of the holder; in another when that one was ended meanwhile, as a right taken away ends every session. */
async function inSession<T>(holder: TestAccount, use: (session: ImapFlow) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    let session: ImapFlow | undefined;
    try {
      session = await mail.imap(holder, await mail.password(holder));
      return await use(session);
    } catch (error) {
      const { code } = error as { code?: string };
      if (tries === 5 || !/^(ClosedAfterConnect|NoConnection|EConnectionClosed)/.test(String(code))) throw error;
    } finally {
      await session?.logout().catch(() => undefined);
    }
  }
}
/** How many messages the holder finds in the shared mailbox; undefined when there is none to be found. */
const count = (holder: TestAccount, address: string): Promise<number | undefined> =>
  inSession(holder, async (session) => {
    const opened = await session.mailboxOpen(folder(address)).catch((error: unknown) => {
      if (!session.usable) throw error;
      return undefined;
    });
    return opened?.exists;
  });
const append = (holder: TestAccount, address: string): Promise<string> =>
  inSession(holder, (session) =>
    session.append(folder(address), 'Subject: x\r\n\r\ny\r\n').then(
      () => 'appended',
      (error: { responseText?: string }) => {
        if (!session.usable) throw error;
        return String(error.responseText);
      },
    ),
  );

describe('a shared mailbox', () => {
  test('receives, and is opened by those alone who were given the right, each as far as it goes', async () => {
    const [reader, writer, stranger] = [await mail.person(), await mail.person(), await mail.person()];
    const box = await make('shared');
    await until(async () => {
      const sent = mail.lmtp({ from: 'a@example.org', to: box.address, subject: 'đơn' });
      return sent.then(() => true).catch(() => false);
    });
    await give(box, reader, ['read']);
    await give(box, writer, ['read', 'write']);
    await until(async () => (await count(writer, box.address)) !== undefined);
    await until(async () => (await count(reader, box.address)) === 1);
    expect(await count(stranger, box.address)).toBeUndefined();
    for (const [who, isListed] of [
      [reader, true],
      [stranger, false],
    ] as const) {
      const session = await mail.imap(who, await mail.password(who));
      const listed = (await session.list()).some(({ path }) => path.startsWith(`shared/${box.address}`));
      await session.logout();
      expect(listed).toBe(isListed);
    }
    // Rights are the record's: no mail program gives any.
    const owner = await mail.imap(writer, await mail.password(writer));
    expect(owner.capabilities.has('ACL')).toBe(false);
    await owner.logout();
    expect(await append(reader, box.address)).toMatch(/Permission denied/);
    expect(await append(writer, box.address)).toBe('appended');
    expect(await append(stranger, box.address)).toMatch(/doesn't exist/);
    expect(await count(reader, box.address)).toBe(2);
    // Nobody opens it as itself.
    for (const password of ['', 'x']) await expect(mail.open(box.address, password)).rejects.toThrow();
    const { body } = await mail.ask('get', `/v1/mailboxes/${box.accountId}/rights`);
    expect(body.items.map((one: { rights: string[] }) => one.rights).sort()).toEqual([['read'], ['read', 'write']]);
  });

  test('has further addresses and forwards as any other, until its target closes and after', async () => {
    const [box, target] = [await make('shared'), await make('shared')];
    const path = `/v1/mailboxes/${box.accountId}`;
    const address = `them.${box.address}`;
    const dn = `uid=${box.address.slice(0, box.address.indexOf('@'))},ou=mailboxes,${mail.baseDn}`;
    const routes = async () => {
      const entry = await mail.ldap.find(dn, ['congvuMailAlias', 'congvuMailForward']);
      const { congvuMailAlias = [], congvuMailForward = [] } = entry?.attributes ?? {};
      return { congvuMailAlias, congvuMailForward: [...congvuMailForward].sort() };
    };
    const become = (wanted: object) => until(async () => isDeepStrictEqual(await routes(), wanted));

    const { body: alias } = await mail.ask('post', `${path}/aliases`, { address }, 201);
    expect(alias).toMatchObject({ mailboxId: box.accountId, agencyCode: 'H41.12', mailboxAddress: box.address });
    const forwarding = { addresses: [target.address], keepCopy: true };
    expect((await mail.ask('put', `${path}/forwarding`, forwarding)).body).toMatchObject(forwarding);
    const both = [box.address, target.address].sort();
    await become({ congvuMailAlias: [address], congvuMailForward: both });
    expect((await mail.ask('get', `${path}/aliases`)).body.items).toEqual([alias]);
    const listed = await mail.ask('get', '/v1/aliases?agency=H41.12');
    expect(listed.body.items).toContainEqual(alias);
    await mail.ask('get', `/v1/aliases/${address}`, undefined, 404, { agency: 'H41.02' });
    const events = await mail
      .owner('directory.audit_events')
      .where({ subject_id: box.accountId, subject_type: 'mailbox' })
      .pluck('action');
    expect(events).toEqual(expect.arrayContaining(['mailbox.alias_added', 'mailbox.forwarding_changed']));
    if (mail.withPostfix) {
      const holder = await mail.person();
      for (const one of [box, target]) await give(one, holder, ['read']);
      await mail.smtp({ from: 'a@example.org', to: address, subject: 'đơn' });
      for (const one of [box, target]) await until(async () => (await count(holder, one.address)) === 1);
    }

    await mail.ask('post', `/v1/mailboxes/${target.accountId}/close`, { reason: 'thử' });
    await become({ congvuMailAlias: [address], congvuMailForward: [box.address] });
    await mail.ask('delete', `/v1/aliases/${address}`, undefined, 204);
    await become({ congvuMailAlias: [], congvuMailForward: [box.address] });
    await mail.ask('put', `${path}/forwarding`, { addresses: [], keepCopy: true });
    await become({ congvuMailAlias: [], congvuMailForward: [] });
  });

  test('is sent as by those who may, and by nobody else', async () => {
    const [secretary, reader] = [await mail.person(), await mail.person()];
    const box = await make('shared');
    await give(box, secretary, ['send_as']);
    await give(box, reader, ['read', 'write']);
    const send = async (who: TestAccount) =>
      mail.submit(who.address, await mail.password(who), {
        from: box.address,
        to: reader.address,
        subject: 'công văn',
      });
    if (!mail.withPostfix) return;
    await until(() =>
      send(secretary).then(
        () => true,
        () => false,
      ),
    );
    await expect(send(reader)).rejects.toMatchObject({ responseCode: 553 });
    expect((await mail.messages(reader)).map(({ subject }) => subject)).toEqual(['công văn']);

    await mail.ask('delete', `/v1/mailboxes/${box.accountId}/rights/${secretary.id}`);
    await until(() =>
      send(secretary).then(
        () => false,
        (error) => error.responseCode === 553,
      ),
    );
  });

  test('rights end with a suspension of the holder and come back with it; taking one away ends the session', async () => {
    const holder = await mail.person();
    const box = await make('shared');
    await give(box, holder, ['read', 'send_as']);
    await until(async () => (await count(holder, box.address)) !== undefined);
    const senders = async () => {
      const dn = `uid=${box.address.split('@')[0]},ou=mailboxes,${mail.baseDn}`;
      return (await mail.ldap.find(dn, ['congvuMailSender']))?.attributes.congvuMailSender ?? [];
    };
    expect(await senders()).toEqual([holder.address]);

    const change = async (changes: object) => {
      await changeAccount(mail.owner, holder.id, changes as Record<string, unknown>);
      await mail.convergeEntry(holder);
      await mail.owner.raw('select mailbox.request_convergence(array[?]::uuid[])', [holder.id]);
    };
    const rightsInDovecot = async () => [...((await mail.doveadm.access(box.address)) ?? new Map()).keys()];
    expect(await rightsInDovecot()).toEqual([holder.address]);
    await change({ state: 'suspended' });
    await until(async () => (await senders()).length === 0 && (await rightsInDovecot()).length === 0);
    await change({ state: 'active' });
    await until(async () => (await senders()).length === 1 && (await rightsInDovecot()).length === 1);

    // Under another address the rights follow.
    const address = `moi.${holder.username}@nghean.gov.vn`;
    await change({ address });
    await until(async () => (await rightsInDovecot()).join() === address && (await senders()).join() === address);

    const session = await mail.open(address, await mail.password(holder));
    const closed = once(session, 'close');
    await mail.ask('delete', `/v1/mailboxes/${box.accountId}/rights/${holder.id}`);
    await closed; // before the right ends, and once more after it
    await until(async () => (await rightsInDovecot()).length === 0);
  });

  test('rights stay behind with whoever goes to another agency: those of the agency left and below it, no others', async () => {
    const holder = await mail.person();
    const [box, above] = [await make('shared'), await make('shared', { agencyCode: 'H41' })];
    const [office, inner] = [await mail.person({ kind: 'agency' }), await make('shared', { agencyCode: 'H41.12.05' })];
    const left = [box, inner, { accountId: office.id, address: office.address }];
    for (const one of [...left, above]) await give(one, holder, ['read', 'write', 'send_as']);
    for (const one of left) await until(async () => (await count(holder, one.address)) !== undefined);
    const senders = async (dn: string) =>
      (await mail.ldap.find(dn, ['congvuMailSender']))?.attributes.congvuMailSender ?? [];
    const dns = [ownMailboxDn(box.address, mail.baseDn), ownMailboxDn(inner.address, mail.baseDn), mail.dn(office)];
    for (const dn of dns) await until(async () => (await senders(dn)).join() === holder.address);

    const session = await mail.open(holder.address, await mail.password(holder));
    const closed = once(session, 'close');
    const agency = await mail.owner('directory.agencies').where({ code: 'H41.02' }).first('id');
    await changeAccount(mail.owner, holder.id, { agency_id: agency.id });
    await mail.convergeEntry(holder);
    await mail.owner.raw('select mailbox.request_convergence(array[?]::uuid[])', [holder.id]);
    await closed;
    for (const one of left) {
      await until(async () => ((await mail.doveadm.access(one.address)) ?? new Map()).size === 0);
      // A session that is just being opened may be ended once more, for the next of the rights.
      await until(async () => (await count(holder, one.address).catch(() => 0)) === undefined);
    }
    for (const dn of dns) await until(async () => (await senders(dn)).length === 0);
    if (mail.withPostfix) {
      const asBox = { from: box.address, to: holder.address, subject: 'x' };
      const sent = mail.submit(holder.address, await mail.password(holder), asBox);
      await expect(sent).rejects.toMatchObject({ responseCode: 553 });
    }
    const rights = await mail.owner('mailbox.rights').where({ account_id: holder.id });
    expect(rights).toMatchObject([{ mailbox_id: above.accountId, agency_id: agency.id, can_send_as: true }]);
    for (const one of left) {
      const [event] = await mail
        .owner('directory.audit_events')
        .where({ subject_id: one.accountId, action: 'mailbox.rights_changed' })
        .orderBy('id', 'desc');
      expect(event).toMatchObject({
        actor_kind: 'system',
        before: { holderId: holder.id, rights: ['read', 'write', 'send_as'] },
        after: { holderId: holder.id, rights: [] },
      });
    }

    // What is given anew, to her in the other agency, stays.
    await give(box, holder, ['read']);
    await convergeMailboxes(mail, [holder.id]);
    await until(async () => (await count(holder, box.address)) !== undefined);
  });

  test('suspended it opens for nobody and nobody sends as it; closed it takes no mail; its name is taken for ever', async () => {
    const holder = await mail.person();
    const box = await make('shared');
    await give(box, holder, ['read', 'send_as']);
    await until(async () => (await count(holder, box.address)) !== undefined);
    const path = `/v1/mailboxes/${box.accountId}`;
    await mail.ask('post', `${path}/suspend`, { reason: 'kiểm tra' });
    await until(async () => (await count(holder, box.address)) === undefined);
    if (mail.withPostfix) {
      const asBox = { from: box.address, to: holder.address, subject: 'x' };
      const sent = mail.submit(holder.address, await mail.password(holder), asBox);
      await expect(sent).rejects.toMatchObject({ responseCode: 553 });
    }
    await mail.lmtp({ from: 'a@example.org', to: box.address, subject: 'meanwhile' });
    await mail.ask('post', `${path}/resume`, { reason: 'xong' });
    await until(async () => (await count(holder, box.address)) === 1);

    await mail.ask('post', `${path}/close`, { reason: 'giải thể' });
    const { body } = await mail.ask('get', path);
    expect(body).toMatchObject({ state: 'retained', retainedUntil: expect.stringMatching(/^\d{4}-\d\d-\d\d$/) });
    const refused = () =>
      mail.lmtp({ from: 'a@example.org', to: box.address, subject: 'late' }).then(
        () => false,
        (error) => error.responseCode === 550,
      );
    await until(refused);
    await mail.ask('post', `${path}/close`, { reason: 'again' }, 409);
    const again = {
      kind: 'shared',
      localPart: box.address.split('@')[0],
      displayName: 'Khác',
      agencyCode: 'H41',
    };
    expect((await mail.ask('post', '/v1/mailboxes', again, 409)).body.code).toBe('address_taken');
    const events = await mail.owner('directory.audit_events').where({ subject_id: box.accountId }).orderBy('id');
    expect(events.map(({ action }) => action)).toEqual([
      'mailbox.created',
      'mailbox.rights_changed',
      'mailbox.suspended',
      'mailbox.changed',
      'mailbox.resumed',
      'mailbox.changed',
      'mailbox.closed',
      'mailbox.changed',
    ]);
  });

  test('of a position too: its holder keeps everything, others have what they were given; of a person never', async () => {
    const [office, deputy] = [await mail.person({ kind: 'agency', agencyCode: 'H41.02' }), await mail.person()];
    await mail.lmtp({ from: 'a@example.org', to: office.address, subject: 'đến' });
    await give({ accountId: office.id }, deputy, ['read']);
    await until(async () => (await count(deputy, office.address)) === 1);
    const own = await mail.imap(office, await mail.password(office));
    await own.append('INBOX', 'Subject: own\r\n\r\ny\r\n');
    expect((await own.mailboxOpen('INBOX')).exists).toBe(2);
    await own.logout();
    const { body } = await mail.ask('put', `/v1/mailboxes/${deputy.id}/rights/${office.id}`, { rights: ['read'] }, 409);
    expect(body.code).toBe('mailbox_not_shared');
  });

  test('has its address in the domain of its agency, which is opened with it; of an agency to come there is none yet', async () => {
    const agencies = (code: string) => mail.owner('directory.agencies').where({ code });
    await agencies('H41.02').update({ mail_domain: 'so.nghean.gov.vn' });
    await agencies('H41.12.05').update({ valid_from: '2999-01-01' });
    try {
      const box = await make('shared', { agencyCode: 'H41.02' });
      expect(box.address).toMatch(/^chung\d+@so\.nghean\.gov\.vn$/);
      const arrives = () =>
        mail.lmtp({ from: 'a@example.org', to: box.address, subject: 'x' }).then(
          () => true,
          () => false,
        );
      await until(arrives);
      expect(await mail.owner('mailbox.domains').where({ name: 'so.nghean.gov.vn' })).toMatchObject([
        { kind: 'agency', until: null },
      ]);
      expect(await mail.queued()).toContain('domains');
      const input = { kind: 'shared', localPart: 'saunay', displayName: 'x', agencyCode: 'H41.12.05' };
      const { body } = await mail.ask('post', '/v1/mailboxes', input, 422);
      expect(body.errors).toMatchObject([{ pointer: '/agencyCode', code: 'agency_not_found' }]);
    } finally {
      await agencies('H41.02').update({ mail_domain: 'nghean.gov.vn' });
      await agencies('H41.12.05').update({ valid_from: null });
    }
  });

  test('what is wrong with a new one is said, every fault at once; the same key makes one', async () => {
    const wrong = { kind: 'shared', localPart: 'Ông.Táo', displayName: 'x', agencyCode: 'H99.1' };
    const { body } = await mail.ask('post', '/v1/mailboxes', wrong, 422);
    expect(body.errors.map((one: { pointer: string }) => one.pointer)).toEqual(['/localPart', '/agencyCode']);
    const reserved = { kind: 'shared', localPart: 'postmaster', displayName: 'x', agencyCode: 'H41' };
    await mail.ask('post', '/v1/mailboxes', reserved, 422);
    const headers = { 'Idempotency-Key': 'once' };
    const input = { kind: 'service', localPart: 'motlan', displayName: 'x', agencyCode: 'H41' };
    const first = await mail.ask('post', '/v1/mailboxes', input, 201, { headers });
    const second = await mail.ask('post', '/v1/mailboxes', input, 201, { headers });
    expect(second.body.accountId).toBe(first.body.accountId);
    expect([typeof first.body.secret, second.body.secret]).toEqual(['string', null]);
    await mail.ask('post', '/v1/mailboxes', { ...input, displayName: 'y' }, 409, { headers });
  });
});

describe('a shared mailbox that is made with its rights', () => {
  const input = (localPart: string, rights: object[]) => ({
    kind: 'shared',
    localPart,
    displayName: 'Một cửa',
    agencyCode: 'H41.12',
    rights,
  });

  test('is used by those people at once, with an event for each', async () => {
    const [writer, reader] = [await mail.person(), await mail.person()];
    counter += 1;
    const body = input(`chung${counter}`, [
      { accountId: writer.id, rights: ['write', 'send_as'] },
      { accountId: reader.id, rights: ['read'] },
    ]);
    const box = (await mail.ask('post', '/v1/mailboxes', body, 201)).body;
    for (const holder of [writer, reader]) await until(async () => (await count(holder, box.address)) !== undefined);
    const dn = `uid=chung${counter},ou=mailboxes,${mail.baseDn}`;
    expect((await mail.ldap.find(dn, ['congvuMailSender']))?.attributes.congvuMailSender).toEqual([writer.address]);
    const events = await mail.owner('directory.audit_events').where({ subject_id: box.accountId }).orderBy('id');
    expect(events.map(({ action, after }) => [action, after.holderId, after.rights])).toEqual([
      ['mailbox.created', undefined, undefined],
      ['mailbox.rights_changed', writer.id, ['read', 'write', 'send_as']],
      ['mailbox.rights_changed', reader.id, ['read']],
    ]);
  });

  test('is not made where somebody cannot have them; every fault is told', async () => {
    const [holder, gone] = [await mail.person(), await mail.person({ state: 'suspended' })];
    const office = await mail.person({ kind: 'position', displayName: 'Văn thư' });
    const rights = ['read'];
    const body = input('khongthanh', [
      { accountId: holder.id, rights },
      { accountId: holder.id, rights },
      { accountId: gone.id, rights },
      { accountId: office.id, rights },
      { accountId: '00000000-0000-4000-8000-000000000000', rights },
    ]);
    const { errors } = (await mail.ask('post', '/v1/mailboxes', body, 422)).body;
    expect(errors.map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`)).toEqual([
      '/rights/1/accountId holder_twice',
      '/rights/2/accountId holder_not_active',
      '/rights/3/accountId right_of_nobody',
      '/rights/4/accountId mailbox_not_found',
    ]);
    const service = { ...body, kind: 'service', rights: [{ accountId: holder.id, rights }] };
    expect((await mail.ask('post', '/v1/mailboxes', service, 422)).body.errors).toMatchObject([{ pointer: '/rights' }]);
    expect(await mail.owner('directory.usernames').where({ username: 'khongthanh' })).toEqual([]);
  });
});

describe('what goes wrong on the way', () => {
  test('an entry or a right that somebody removed by hand comes back; killed or without Dovecot, the next run does it', async () => {
    const [box, holder] = [await make('shared'), await mail.person()];
    await give(box, holder, ['read', 'send_as']);
    await until(async () => (await count(holder, box.address)) !== undefined);
    await mail.doveadm.setAccess(box.address, new Map([[holder.address, []]]));
    const dn = `uid=${box.address.split('@')[0]},ou=mailboxes,${mail.baseDn}`;
    await mail.ldap.remove(dn);

    const add = async () => {
      throw new Error('killed here');
    };
    await expect(convergeOwnMailbox({ ...mail, ldap: { ...mail.ldap, add } }, box.accountId)).rejects.toThrow('killed');
    const doveadm = connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: 'x' });
    await expect(convergeAccess({ ...mail, doveadm }, box.accountId)).rejects.toMatchObject({ kind: 'unavailable' });
    // Before its entry is there, Dovecot knows nobody to give rights to: the job waits.
    await expect(convergeAccess(mail, box.accountId)).rejects.toMatchObject({ code: 'mailbox_not_ready' });

    await applySettings(mail);
    await until(async () => (await count(holder, box.address)) !== undefined);
    expect((await mail.ldap.find(dn, ['congvuMailSender']))?.attributes.congvuMailSender).toEqual([holder.address]);
  });

  test('a new one counts as made only when its rights are with Dovecot too', async () => {
    const [box, holder] = [await make('shared'), await mail.person()];
    await give(box, holder, ['read']);
    await until(async () => (await count(holder, box.address)) !== undefined);
    await mail.doveadm.setAccess(box.address, new Map([[holder.address, []]]));
    const row = mail.owner('mailbox.mailboxes').where({ account_id: box.accountId });
    await row.clone().update({ provisioned_at: null });

    const doveadm = connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: 'x' });
    await expect(convergeOwnMailbox({ ...mail, doveadm }, box.accountId)).rejects.toMatchObject({
      kind: 'unavailable',
    });
    expect((await row.clone().first()).provisioned_at).toBeNull();
    await convergeOwnMailbox(mail, box.accountId);
    expect((await row.clone().first()).provisioned_at).not.toBeNull();
    expect(await count(holder, box.address)).toBeDefined();
  });

  test('killed right after a right was taken, the session that was opened with it is ended nevertheless', async () => {
    const [box, holder] = [await make('shared'), await mail.person()];
    await give(box, holder, ['read']);
    await until(async () => (await count(holder, box.address)) !== undefined);
    const session = await mail.open(holder.address, await mail.password(holder));
    let isClosed = false;
    session.on('close', () => {
      isClosed = true;
    });
    await session.mailboxOpen(folder(box.address));
    // Taken without its job.
    await mail.owner('mailbox.rights').where({ mailbox_id: box.accountId }).delete();
    const setAccess: TestMail['doveadm']['setAccess'] = async (...right) => {
      await mail.doveadm.setAccess(...right);
      throw new Error('killed here');
    };
    const killed = convergeAccess({ ...mail, doveadm: { ...mail.doveadm, setAccess } }, box.accountId);
    await expect(killed).rejects.toThrow('killed here');
    await convergeAccess(mail, box.accountId);
    await until(async () => isClosed);
  });

  test('what somebody changed by hand of who sends as an office, and of who is away, is repaired', async () => {
    const [office, holder, stranger] = [
      await mail.person({ kind: 'agency', agencyCode: 'H41' }),
      await mail.person(),
      await mail.person(),
    ];
    await give({ accountId: office.id }, holder, ['send_as']);
    const vacation = { subject: 'Đi vắng', text: 'Tôi nghỉ phép.' };
    await mail.ask('put', `/v1/mailboxes/${holder.id}/vacation`, vacation);
    const inLdap = async (who: TestAccount) => {
      const entry = await mail.ldap.find(mail.dn(who), ['congvuMailSender', 'congvuVacationText']);
      return [entry?.attributes.congvuMailSender ?? [], entry?.attributes.congvuVacationText ?? []].map(String);
    };
    const isRight = async () =>
      JSON.stringify([await inLdap(office), await inLdap(holder), await inLdap(stranger)]) ===
      JSON.stringify([
        [holder.address, ''],
        ['', vacation.text],
        ['', ''],
      ]);
    await until(isRight);
    const write = (who: TestAccount, attribute: string, values: string[]) =>
      mail.ldap.modify(mail.dn(who), [{ attribute, operation: 'replace', values }]);
    await write(office, 'congvuMailSender', []);
    await write(holder, 'congvuVacationText', []);
    await write(holder, 'congvuMailSender', [stranger.address]);
    await write(stranger, 'congvuVacationText', ['Tôi đi mãi.']);
    await applySettings(mail);
    await until(isRight);
  });

  test('while a mailbox is at work nobody waits who forwards to it or gives its holder a right', async () => {
    const [box, from, target] = [await make('shared'), await mail.person(), await mail.person()];
    const work = await mail.database.transaction();
    await lockMailboxes(work, [target.id]);
    try {
      const forwarding = { addresses: [target.address], keepCopy: true };
      const asked = Promise.all([
        mail.ask('put', `/v1/mailboxes/${from.id}/forwarding`, forwarding),
        give(box, target, ['read']),
      ]);
      const isAnswered = asked.then(() => true);
      expect(await Promise.race([isAnswered, sleep(5_000, false)])).toBe(true);
    } finally {
      await work.commit();
    }
  });

  test('mailboxes are touched in one order: whoever waits for the first holds none of the others', async () => {
    const holder = await mail.person();
    const boxes = [await make('shared'), await make('shared'), await make('shared'), await make('shared')];
    const [first, ...rest] = boxes.map(({ accountId }) => accountId).sort();
    for (const accountId of [...rest, first as string]) await give({ accountId }, holder, ['read']);
    const rows = (ids: string[]) => mail.owner('mailbox.mailboxes').whereIn('account_id', ids);
    const blocker = await mail.owner.transaction();
    await rows([first as string])
      .transacting(blocker)
      .forUpdate();
    const touched = mail.database.transaction((transaction) => touchShared(transaction, [holder.id]));
    const isWaiting = async () => {
      const waiting = await mail.owner
        .raw(`select 1 from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))`)
        .transacting(blocker);
      return waiting.rows.length > 0;
    };
    try {
      await until(isWaiting);
      // The jobs of what was given hold a row for a moment; a holder who waits would hold it for ever.
      const areFree = () =>
        mail.owner
          .transaction((other) => rows(rest).transacting(other).forUpdate().noWait())
          .then(
            () => true,
            () => false,
          );
      await until(areFree);
    } finally {
      await blocker.commit();
    }
    expect((await touched).map(({ id }) => id).sort()).toEqual([first, ...rest]);
  });
});

describe('a service mailbox', () => {
  test('opens by its secret, sends as itself, and by the old one no more after a renewal', async () => {
    const box = await make('service');
    const secret = String(box.secret);
    expect(Buffer.from(secret, 'base64url')).toHaveLength(24);
    const session = await mail.open(box.address, secret);
    const closed = once(session, 'close');
    const to = (await mail.person()).address;
    const own = { from: box.address, to, subject: 'tự động' };
    if (mail.withPostfix) {
      await mail.submit(box.address, secret, own);
      await expect(mail.submit(box.address, secret, { ...own, from: to })).rejects.toMatchObject({ responseCode: 553 });
    }
    const renewed = (await mail.ask('post', `/v1/mailboxes/${box.accountId}/secret`, undefined, 201)).body.secret;
    await closed;
    await expect(mail.open(box.address, secret)).rejects.toMatchObject({ authenticationFailed: true });
    await (await mail.open(box.address, renewed)).logout();

    await mail.ask('post', `/v1/mailboxes/${box.accountId}/suspend`, { reason: 'lộ mật khẩu' });
    await until(() =>
      mail.open(box.address, renewed).then(
        (session) => session.logout().then(() => false),
        () => true,
      ),
    );
    // Nowhere but hashed in LDAP, and nobody reads that.
    const dn = `uid=${box.address.split('@')[0]},ou=mailboxes,${mail.baseDn}`;
    expect((await mail.ldap.find(dn, ['userPassword']))?.attributes.userPassword ?? []).toEqual([]);
    const dumped = await mail.owner.raw(
      'select m::text from mailbox.mailboxes m union all select e::text from directory.audit_events e',
    );
    expect(JSON.stringify(dumped.rows)).not.toContain(renewed);
  });
});
