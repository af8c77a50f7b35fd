import { describe, expect, test } from '@jest/globals';
import { parseDovecotLine, parsePostfixLine } from './log-lines.ts';
import { tally } from './tally.ts';

const now = new Date('2026-11-22T00:31:20Z');
const at = new Date('2026-11-22T00:31:18Z');
const postfix = (line: string) => parsePostfixLine(line, now);

describe("Postfix's lines", () => {
  test('a submission names the login', () => {
    expect(
      postfix(
        'Nov 22 00:31:18 mail postfix/submission/smtpd[15481]: B2AE25A211D: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=DienHT@nghean.gov.vn',
      ),
    ).toEqual({ kind: 'submitted', at, queueId: 'B2AE25A211D', sender: 'dienht@nghean.gov.vn' });
  });
  test('in the queue, and out of it', () => {
    expect(
      postfix(
        'Nov 22 00:31:18 mail postfix/qmgr[15475]: B2AE25A211D: from=<dienht@nghean.gov.vn>, size=454, nrcpt=2 (queue active)',
      ),
    ).toEqual({ kind: 'queued', at, queueId: 'B2AE25A211D' });
    expect(postfix('Nov 22 00:31:18 mail postfix/qmgr[15475]: B2AE25A211D: removed')).toEqual({
      kind: 'left',
      at,
      queueId: 'B2AE25A211D',
    });
  });
  const end =
    'relay=127.0.0.1[127.0.0.1]:22824, delay=0.02, delays=0.01/0/0/0.01, dsn=2.0.0, status=sent (250 2.0.0 <a@nghean.gov.vn> UPNnLNY3AmvmOwAAg+zDdQ Saved)';
  test('a delivery, with the address that was written on it', () => {
    const delivered = {
      kind: 'delivered',
      at,
      queueId: 'B2',
      to: 'a@nghean.gov.vn',
      transaction: 'UPNnLNY3AmvmOwAAg+zDdQ',
    };
    expect(postfix(`Nov 22 00:31:18 mail postfix/lmtp[15633]: B2: to=<a@nghean.gov.vn>, ${end}`)).toEqual(delivered);
    expect(
      postfix(
        `Nov 22 00:31:18 mail postfix/lmtp[15633]: B2: to=<a@nghean.gov.vn>, orig_to=<Old@nghean.gov.vn>, ${end}`,
      ),
    ).toEqual({ ...delivered, addressed: 'old@nghean.gov.vn' });
  });
  test('a copy to another server, of mail to an address here, whatever that server answers', () => {
    const rest =
      'relay=mx.example.org[192.0.2.1]:25, delay=0.3, delays=0.1/0/0.1/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4d)';
    const line = (orig: string) =>
      postfix(`Nov 22 00:31:18 mail postfix/smtp[7]: B2: to=<a@example.org>, ${orig}${rest}`);
    const addressed = 'cu@nghean.gov.vn';
    expect(line('orig_to=<Cu@nghean.gov.vn>, ')).toEqual({
      kind: 'passed',
      at,
      queueId: 'B2',
      to: 'a@example.org',
      addressed,
    });
    expect(line('')).toBeUndefined();
  });
  test.each([
    [
      'deferred',
      'lmtp[1]: B2: to=<a@x.vn>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to 127.0.0.1: refused)',
    ],
    [
      'bounced',
      'lmtp[1]: B2: to=<a@x.vn>, relay=h[1.2.3.4]:24, delay=1, delays=1/0/0/0, dsn=5.2.2, status=bounced (host said: 552 5.2.2 full)',
    ],
    [
      'sent elsewhere, whose answer looks like ours',
      `smtp[1]: B2: to=<a@x.vn>, relay=h[1.2.3.4]:25, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 <a@x.vn> x Saved)`,
    ],
    ['a client without a login', 'smtp/smtpd[1]: B2: client=sasl_username=a@x.vn[1.2.3.4]'],
    [
      'a refusal that quotes a line',
      'smtp/smtpd[1]: NOQUEUE: reject: RCPT from h[1.2.3.4]: 550 5.1.1 <x>; from=<B2: removed> to=<x> proto=ESMTP helo=<x>',
    ],
    ['a message id that is a line', 'cleanup[1]: B2: message-id=<Nov 22 00:31:18 mail postfix/qmgr[1]: B2: removed>'],
  ])('%s says nothing', (_, rest) => {
    expect(postfix(`Nov 22 00:31:18 mail postfix/${rest}`)).toBeUndefined();
  });
  test('the year is that in which the line is not of the future', () => {
    const line = 'Dec 31 23:59:59 mail postfix/qmgr[1]: B2: removed';
    expect(parsePostfixLine(line, new Date('2027-01-01T00:00:05Z'))?.at).toEqual(new Date('2026-12-31T23:59:59Z'));
    expect(
      parsePostfixLine('Jan  1 00:00:01 mail postfix/qmgr[1]: B2: removed', new Date('2026-12-31T23:59:59Z'))?.at,
    ).toEqual(new Date('2027-01-01T00:00:01Z'));
  });
});

describe("Dovecot's lines", () => {
  const login = (rest: string) => parseDovecotLine(`2026-11-22 00:31:18 ${rest}`);
  test('a login', () => {
    expect(
      login(
        'imap-login: Info: Login: user=<DienHT@nghean.gov.vn>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, mpid=1, TLS, session=<x>',
      ),
    ).toEqual({ kind: 'login', at, address: 'dienht@nghean.gov.vn' });
  });
  test.each([
    'imap-login: Info: Disconnected: Connection closed (auth failed, 1 attempts): user=<a@nghean.gov.vn>, method=PLAIN',
    'auth: Info: ldap(imap-login: Info: Login: user=<a@nghean.gov.vn>, ,127.0.0.1): unknown user',
    'lmtp(a@nghean.gov.vn)<1><x>: Info: sieve: msgid=<imap-login: Info: Login: user=<a@nghean.gov.vn>, >: stored',
  ])('%s is none', (line) => {
    expect(login(line)).toBeUndefined();
  });
});

describe('what the lines add up to', () => {
  const to = 'a@x.vn';
  const delivered = { kind: 'delivered', at, queueId: 'Q', to, transaction: 'T' } as const;
  test('a submission that never came into the queue, and one that is tried again, count as nothing and once', () => {
    const underWay = new Map();
    const submitted = { kind: 'submitted', at, sender: to } as const;
    const counts = tally(
      [
        { ...submitted, queueId: 'broken-off' },
        { ...submitted, queueId: 'Q' },
        { kind: 'queued', at, queueId: 'Q' },
        { kind: 'queued', at, queueId: 'Q' },
        { kind: 'left', at, queueId: 'Q' },
      ],
      underWay,
      [],
    );
    expect(counts.mailboxes).toMatchObject([{ address: to, sent: 1, received: 0, lastSentAt: at }]);
    expect([...underWay.keys()]).toEqual(['broken-off']);
  });
  test('two ways into one mailbox by one delivery are one message, by two deliveries two', () => {
    const twice = tally(
      [
        { ...delivered, addressed: undefined },
        { ...delivered, addressed: 'list@x.vn' },
      ],
      new Map(),
      [],
    );
    expect(twice.mailboxes).toMatchObject([{ received: 1 }]);
    expect(tally([{ ...delivered, addressed: 'list@x.vn' }], new Map(), twice.recent).mailboxes).toEqual([]);
    const other = tally([{ ...delivered, addressed: undefined, transaction: 'U' }], new Map(), twice.recent);
    expect(other.mailboxes).toMatchObject([{ received: 1 }]);
  });
  test('a message to a list is one use of it, however many it reaches and in however many stretches', () => {
    const underWay = new Map();
    const some = (from: number) =>
      Array.from({ length: 100 }, (_, n) => ({ ...delivered, to: `m${from + n}@x.vn`, addressed: 'list@x.vn' }));
    const [first, second] = [tally(some(0), underWay, []), tally(some(100), underWay, [])];
    expect(first.addresses).toEqual([{ address: 'list@x.vn', day: '2026-11-22', uses: 1, lastUsedAt: at }]);
    expect(second.addresses).toEqual([]);
    expect(first.mailboxes.length + second.mailboxes.length).toBe(200);
  });
  test('mail to a former name that goes on outside is one use, with a copy and without, and no message received', () => {
    const addressed = 'cu@x.vn';
    const passed = { kind: 'passed', at, queueId: 'Q', to: 'a@example.org', addressed } as const;
    const copied = tally([passed, { ...passed, to: 'b@example.org' }, { ...delivered, addressed }], new Map(), []);
    expect(copied.addresses).toMatchObject([{ address: addressed, uses: 1 }]);
    expect(copied.mailboxes).toMatchObject([{ address: to, received: 1 }]);
    expect(tally([passed], new Map(), [])).toMatchObject({
      addresses: [{ address: addressed, uses: 1 }],
      mailboxes: [],
    });
  });
  test('a day begins at midnight in Việt Nam', () => {
    const late = new Date('2026-11-21T17:00:00Z');
    const early = new Date('2026-11-21T16:59:59Z');
    const counts = tally(
      [late, early].map((time, n) => ({ ...delivered, at: time, addressed: undefined, transaction: String(n) })),
      new Map(),
      [],
    );
    expect(counts.mailboxes.map(({ day }) => day)).toEqual(['2026-11-22', '2026-11-21']);
  });
});
