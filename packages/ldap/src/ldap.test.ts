import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { testStack } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type Attributes,
  diffAttributes,
  distinguishedName,
  isAlreadyThere,
  type Ldap,
  type Operation,
  openLdap,
} from './index.ts';
import { openWire } from './testing.ts';

const { url, baseDn, identities } = testStack().ldap;
const identity = (name: string) => ({ url, ...(identities[name] as { bindDn: string; password: string }) });
const people = `ou=people,${baseDn}`;
const agencies = `ou=agencies,${baseDn}`;
const authorities = `ou=authorities,${baseDn}`;

let ldap: Ldap;
let certificates: Ldap;
const made: { dn: string; by: Ldap }[] = [];
beforeAll(() => {
  ldap = openLdap(identity('directory'));
  certificates = openLdap(identity('certificate'));
});
afterAll(async () => {
  // Not one by one: each removal is a commit.
  for (let start = 0; start < made.length; start += 32)
    await Promise.all(made.slice(start, start + 32).map(({ dn, by }) => by.remove(dn)));
  await ldap.close();
  await certificates.close();
});

const unique = () => `t${randomBytes(6).toString('hex')}`;
const account = (username: string): Attributes => ({
  objectClass: ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'],
  congvuAccountStatus: ['active'],
  uid: [username],
  congvuAccountId: [randomUUID()],
  cn: ['Huỳnh Thanh Điền'],
  sn: ['Huỳnh'],
  title: [],
});
async function person(username = unique()): Promise<string> {
  const dn = distinguishedName({ uid: username }, people);
  made.push({ dn, by: ldap });
  expect(await ldap.add(dn, account(username))).toBe(true);
  return dn;
}

describe('entries', () => {
  test('add, find, modify, rename, remove', async () => {
    const dn = await person();
    expect(await ldap.find(dn, ['cn', 'sn', 'title'])).toEqual({
      dn,
      attributes: { cn: ['Huỳnh Thanh Điền'], sn: ['Huỳnh'], title: [] },
    });
    expect(await ldap.add(dn, account('other'))).toBe(false);

    await ldap.modify(dn, [
      { attribute: 'title', operation: 'add', values: ['Trưởng phòng', 'Phó trưởng ban'] },
      { attribute: 'sn', operation: 'replace', values: ['Hoàng'] },
    ]);
    await ldap.modify(dn, [{ attribute: 'title', operation: 'delete', values: ['Trưởng phòng'] }]);
    expect((await ldap.find(dn, ['sn', 'title']))?.attributes).toEqual({ sn: ['Hoàng'], title: ['Phó trưởng ban'] });

    const renamed = distinguishedName({ uid: unique() }, people);
    made.push({ dn: renamed, by: ldap });
    await ldap.rename(dn, renamed);
    expect(await ldap.find(dn, ['cn'])).toBeUndefined();
    expect(await ldap.find(renamed, ['cn'])).toBeDefined();

    expect(await ldap.remove(renamed)).toBe(true);
    expect(await ldap.remove(renamed)).toBe(false);
  });

  test('a modification is whole or not at all', async () => {
    const dn = await person();
    const changes = [
      { attribute: 'sn', operation: 'replace', values: ['Changed'] },
      { attribute: 'title', operation: 'delete', values: ['never there'] },
    ] as const;
    await expect(ldap.modify(dn, changes)).rejects.toMatchObject({ name: 'NoSuchAttributeError' });
    expect((await ldap.find(dn, ['sn']))?.attributes.sn).toEqual(['Huỳnh']);
  });

  test('search by a filter whose values are hostile finds only what has exactly that value', async () => {
    const dn = await person();
    const uid = /uid=([^,]+)/.exec(dn)![1]!;
    const search = (value: string) => ldap.findBy(people, 'uid', [value, 'nobody'], ['uid']);
    expect(await search(uid)).toHaveLength(1);
    for (const value of ['*', `${uid})(uid=*`, '\\2a', 'a*', '\0']) expect(await search(value)).toEqual([]);
  });

  test('finds by any of many values, each once', async () => {
    const dns: string[] = [];
    while (dns.length < 45) dns.push(await person());
    const uids = dns.map((dn) => /uid=([^,]+)/.exec(dn)![1]!);
    const found = await ldap.findBy(people, 'uid', [...uids, 'nobody'], ['uid']);
    expect(found.map(({ attributes }) => attributes.uid?.[0]).sort()).toEqual([...uids].sort());
    expect(await ldap.findBy(people, 'uid', [], ['uid'])).toEqual([]);
  });

  test('what the identity may not do is refused and leaves the connection usable', async () => {
    const dn = await person();
    await expect(
      ldap.modify(dn, [{ attribute: 'mail', operation: 'replace', values: ['x@nghean.gov.vn'] }]),
    ).rejects.toMatchObject({ name: 'InsufficientAccessError' });
    expect(await ldap.find(dn, ['mail'])).toEqual({ dn, attributes: { mail: [] } });
  });

  test('a base that is not there is an answer to `search`, never an empty list', async () => {
    await expect(ldap.search(`ou=nowhere,${baseDn}`, { scope: 'sub', attributes: ['cn'] })).rejects.toMatchObject({
      name: 'NoSuchObjectError',
    });
  });
});

describe('many changes at once', () => {
  const add = (username: string, attributes = account(username)): Operation => {
    const dn = distinguishedName({ uid: username }, people);
    made.push({ dn, by: ldap });
    return { kind: 'add', dn, attributes };
  };
  const modify = (dn: string, value: string): Operation => ({
    kind: 'modify',
    dn,
    changes: [{ attribute: 'sn', operation: 'replace', values: [value] }],
  });
  const newcomers = (count: number): Operation[] => Array.from({ length: count }, () => add(unique()));
  const occurrences = (text: string, part: string) => text.split(part).length - 1;
  const countThere = async (operations: readonly Operation[]) => {
    const names = operations.map(({ dn }) => /uid=([^,]+)/.exec(dn)![1]!);
    return (await ldap.findBy(people, 'uid', names, ['uid'])).length;
  };
  const surname = async (dn: string) => (await ldap.find(dn, ['sn']))?.attributes.sn?.[0];

  test('none, one, several: all done', async () => {
    expect(await ldap.applyAll([])).toEqual([]);
    const [first, ...rest] = [add(unique()), add(unique()), add(unique())];
    expect(await ldap.applyAll([first!])).toEqual([undefined]);
    expect(await ldap.applyAll([...rest, modify(first!.dn, 'Một')])).toEqual([undefined, undefined, undefined]);
    expect(await surname(first!.dn)).toBe('Một');
    for (const { dn } of rest) expect(await surname(dn)).toBe('Huỳnh');
  });

  test('one that is refused costs only itself, and is named in its place', async () => {
    const there = await person();
    const [good, late] = [add(unique()), add(unique())];
    const outcomes = await ldap.applyAll([
      good,
      { kind: 'add', dn: there, attributes: account('other') },
      modify(`uid=${unique()},${people}`, 'x'),
      modify(there, 'Đổi'),
      late,
    ]);
    expect(outcomes.map((error) => error?.name)).toEqual([
      undefined,
      'AlreadyExistsError',
      'NoSuchObjectError',
      undefined,
      undefined,
    ]);
    expect(outcomes.map(isAlreadyThere)).toEqual([false, true, false, false, false]);
    expect(await surname(there)).toBe('Đổi');
    expect(await surname(late.dn)).toBe('Huỳnh');
  });

  test('many more than go at once, one of them with a fault', async () => {
    const dn = await person();
    const operations = Array.from({ length: 1_100 }, () => modify(dn, 'Số'));
    operations[700] = modify(`uid=${unique()},${people}`, 'x');
    const outcomes = await ldap.applyAll(operations);
    expect(outcomes).toHaveLength(1_100);
    expect(outcomes.flatMap((error, index) => (error ? [index] : []))).toEqual([700]);
    expect(await surname(dn)).toBe('Số');
  });

  test('a crowd goes by one transaction, and is there whole', async () => {
    const wire = await openWire(url);
    const listened = openLdap({ ...identity('directory'), url: wire.url });
    try {
      const crowd = newcomers(500);
      expect(await listened.applyAll(crowd)).toEqual(crowd.map(() => undefined));
      expect(occurrences(wire.sent, '1.3.6.1.1.21.1')).toBe(1);
      expect(occurrences(wire.sent, '1.3.6.1.1.21.3')).toBe(1);
      expect(await countThere(crowd)).toBe(500);
      wire.sent = '';
      await listened.applyAll(newcomers(49));
      expect(wire.sent).not.toContain('1.3.6.1.1.21');
    } finally {
      await listened.close();
      await wire.close();
    }
  });

  test('a server that refuses to begin a transaction gets the same changes one by one', async () => {
    const wire = await openWire(url);
    const refused = openLdap({ ...identity('directory'), url: wire.url });
    wire.alter = (data) => Buffer.from(data.toString('latin1').replace('1.3.6.1.1.21.1', '1.3.6.1.1.21.9'), 'latin1');
    try {
      const crowd = newcomers(80);
      crowd[9] = add(unique(), { ...account('x'), mail: ['not-ours-to-write@nghean.gov.vn'] });
      const outcomes = await refused.applyAll(crowd);
      expect(outcomes.flatMap((error, index) => (error ? [index] : []))).toEqual([9]);
      expect(wire.sent).not.toContain('1.3.6.1.1.21.3');
      expect(await countThere(crowd)).toBe(79);
    } finally {
      await refused.close();
      await wire.close();
    }
  });

  test.each([
    [
      'when it is sent',
      () => ({ ...account('x'), congvuAccountKind: ['far more than thirty-two characters?'], cn: [] }),
    ],
    ['when it is done', () => ({ ...account('x'), mail: ['not-ours-to-write@nghean.gov.vn'] })],
  ])('one bad among 500, refused %s, costs only itself', async (_when, attributes) => {
    const crowd = newcomers(500);
    crowd[321] = add(unique(), attributes());
    const outcomes = await ldap.applyAll(crowd);
    expect(outcomes.flatMap((error, index) => (error ? [index] : []))).toEqual([321]);
    expect(await countThere(crowd)).toBe(499);
  });

  test('several bad, of different kinds, among additions and changes of what is there', async () => {
    const there = newcomers(100);
    await ldap.applyAll(there);
    const crowd: Operation[] = [...newcomers(150), ...there.map(({ dn }) => modify(dn, 'Mới')), ...newcomers(150)];
    const id = (there[7] as Extract<Operation, { kind: 'add' }>).attributes.congvuAccountId;
    crowd[3] = { kind: 'add', dn: there[0]!.dn, attributes: account('other') };
    crowd[210] = modify(`uid=${unique()},${people}`, 'x');
    crowd[399] = add(unique(), { ...account('x'), congvuAccountId: id as string[] });
    const outcomes = await ldap.applyAll(crowd);
    expect(outcomes.flatMap((error, index) => (error ? [[index, error.name]] : []))).toEqual([
      [3, 'AlreadyExistsError'],
      [210, 'NoSuchObjectError'],
      [399, expect.any(String)],
    ]);
    expect(isAlreadyThere(outcomes[3])).toBe(true);
    expect(await countThere(crowd.filter(({ kind }) => kind === 'add'))).toBe(299); // one of them was there before
    expect(await surname(there[99]!.dn)).toBe('Mới');
  });

  test('two of one account within a crowd: the second is refused', async () => {
    const crowd = newcomers(60);
    const twin = { ...account('x'), ...(crowd[5] as Extract<Operation, { kind: 'add' }>).attributes, uid: [unique()] };
    crowd[40] = add(twin.uid[0]!, twin);
    const outcomes = await ldap.applyAll(crowd);
    expect(outcomes.flatMap((error, index) => (error ? [[index, error.name]] : []))).toEqual([
      [40, 'ConstraintViolationError'],
    ]);
  });

  test('again, all that is there is named, and nothing changes', async () => {
    const crowd = newcomers(120);
    await ldap.applyAll(crowd);
    expect((await ldap.applyAll(crowd)).map(isAlreadyThere)).toEqual(crowd.map(() => true));
  });

  test('several crowds at once, by two identities, beside single changes', async () => {
    const crowds = [newcomers(400), newcomers(300), newcomers(120)];
    const single = await person();
    const [first, ...rest] = crowds as [Operation[], ...Operation[][]];
    await ldap.applyAll(first);
    const mail: Operation[] = first.map(({ dn }) => ({
      kind: 'modify',
      dn,
      changes: [{ attribute: 'mail', operation: 'replace', values: [`${unique()}@nghean.gov.vn`] }],
    }));
    const mailbox = openLdap(identity('mailbox'));
    const outcomes = await Promise.all([
      mailbox.applyAll(mail),
      ...rest.map((crowd) => ldap.applyAll(crowd)),
      ...Array.from({ length: 30 }, (_, index) => ldap.applyAll([modify(single, `Số ${index}`)])),
      ...Array.from({ length: 30 }, () => ldap.applyAll([add(unique())])),
    ]);
    await mailbox.close();
    expect(outcomes.flat().filter((error) => error)).toEqual([]);
    for (const crowd of crowds) expect(await countThere(crowd)).toBe(crowd.length);
  });

  test('a server that is down is unavailable', async () => {
    const down = openLdap({ ...identity('directory'), url: 'ldap://127.0.0.1:1' });
    for (const count of [1, 2, 60])
      await expect(
        down.applyAll(Array.from({ length: count }, () => modify(`uid=${unique()},${people}`, 'x'))),
      ).rejects.toMatchObject({ kind: 'unavailable' });
    await down.close();
  });
});

describe('distinguished names', () => {
  test.each([
    'a,b',
    'a+b=c',
    'a"b"',
    '#0401',
    ' both ends ',
    'back\\slash',
    '<a>;b',
    'Sở Thông tin và Truyền thông, tỉnh Nghệ An',
    'Đ/đ ư ơ',
    'tab\tnew\nline',
    '*()',
  ])('%j names an entry of just that name', async (raw) => {
    const name = raw + unique() + (raw.endsWith(' ') ? ' ' : '');
    const dn = distinguishedName({ ou: name }, agencies);
    made.push({ dn, by: ldap });
    expect(await ldap.add(dn, { objectClass: ['organizationalUnit'], ou: [name] })).toBe(true);
    const found = await ldap.find(dn, ['ou']);
    expect(found?.attributes.ou).toEqual([name]);
    // The server's own spelling of the name finds it as well, and lies right below the base.
    expect(await ldap.find(found!.dn, ['ou'])).toEqual(found);
    expect(await ldap.findBy(agencies, 'ou', [name], ['ou'])).toHaveLength(1);
  });
});

/** A real certificate (DER): the server reads what it stores under these attributes. */
function certificate(name: string): Buffer {
  const pem = execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      '/dev/null',
      '-subj',
      `/CN=${name}`,
    ],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  return Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
}

describe('binary attributes', () => {
  const attribute = 'userCertificate;binary';
  const read = async (dn: string) =>
    ((await certificates.find(dn, [attribute]))?.attributes[attribute] ?? []).map((value) => {
      expect(Buffer.isBuffer(value)).toBe(true);
      return value.toString('hex');
    });

  test('come back octet for octet, none, one or several, and are replaced one by one', async () => {
    const dn = await person();
    const [a, b, c] = [certificate('a'), certificate('b'), certificate('c')];
    for (const wanted of [[], [a], [a, b], [b, c], [c], [a, b, c], []]) {
      const actual = (await certificates.find(dn, [attribute]))!.attributes;
      const changes = diffAttributes(actual, { [attribute]: wanted });
      if (changes.length > 0) await certificates.modify(dn, changes);
      expect((await read(dn)).sort()).toEqual(wanted.map((one) => one.toString('hex')).sort());
      expect(diffAttributes((await certificates.find(dn, [attribute]))!.attributes, { [attribute]: wanted })).toEqual(
        [],
      );
    }
  });

  test('in a new entry, beside text', async () => {
    const name = unique();
    const dn = distinguishedName({ cn: name }, authorities);
    made.push({ dn, by: certificates });
    const own = certificate(name);
    await certificates.add(dn, {
      objectClass: ['pkiCA', 'applicationProcess'],
      cn: [name],
      'cACertificate;binary': [own],
    });
    const found = await certificates.find(dn, ['cn', 'cACertificate;binary']);
    expect(found?.attributes).toEqual({ cn: [name], 'cACertificate;binary': [own] });
  });
});

describe('passwords', () => {
  const strong = () => `Mật khẩu ${randomBytes(9).toString('base64')}`;

  test('set, verified, replaced', async () => {
    const dn = await person();
    const [first, second] = [strong(), strong()];
    await ldap.setPassword(dn, first);
    expect(await ldap.verifyPassword(dn, first)).toBe(true);
    expect(await ldap.verifyPassword(dn, `${first} `)).toBe(false);
    await ldap.setPassword(dn, second);
    expect(await ldap.verifyPassword(dn, first)).toBe(false);
    expect(await ldap.verifyPassword(dn, second)).toBe(true);
  });

  test('a right one of an account that is not active is wrong', async () => {
    const dn = await person();
    const password = strong();
    await ldap.setPassword(dn, password);
    for (const [status, right] of [
      ['suspended', false],
      ['active', true],
    ] as const) {
      await ldap.modify(dn, [{ attribute: 'congvuAccountStatus', operation: 'replace', values: [status] }]);
      expect(await ldap.verifyPassword(dn, password)).toBe(right);
    }
  });

  test('an empty password is never right, though the server would take it for anonymous', async () => {
    const dn = await person();
    expect(await ldap.verifyPassword(dn, '')).toBe(false);
    await ldap.setPassword(dn, strong());
    expect(await ldap.verifyPassword(dn, '')).toBe(false);
  });

  test('no entry, no password, a wrong name: no', async () => {
    const dn = await person();
    expect(await ldap.verifyPassword(dn, strong())).toBe(false);
    expect(await ldap.verifyPassword(distinguishedName({ uid: unique() }, people), strong())).toBe(false);
  });

  test('one that the policy refuses is a fault of the caller, in plain words and without the password', async () => {
    const dn = await person();
    const error = await ldap.setPassword(dn, 'ngắn').catch((thrown: Error) => thrown);
    expect(error).toMatchObject({
      kind: 'invalid',
      code: 'password_policy',
      faults: [{ pointer: '/password', code: 'password_policy' }],
    });
    expect((error as Error).message).not.toMatch(/ngắn|0x13/);
    // Hashed beforehand its length cannot be seen.
    await expect(ldap.setPassword(dn, '{SSHA}0123456789abcdef0123456789abcdef')).rejects.toMatchObject({
      code: 'password_policy',
    });
  });

  test('a password of an entry that is not there is no success', async () => {
    await expect(ldap.setPassword(distinguishedName({ uid: unique() }, people), strong())).rejects.toThrow();
  });
});
