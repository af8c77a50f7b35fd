/**
 * What single lines of Postfix's and Dovecot's logs say of use. Only a line that is exactly of the form counts: both programs put what
 * strangers wrote (a reply, a login name) behind the parts that are read here, and never a line break; addresses are ASCII (no SMTPUTF8 here). Both log in UTC.
 */

export type LogEvent =
  /** A message begins to be handed in under a login. */
  | { kind: 'submitted'; at: Date; queueId: string; sender: string }
  /** A message is wholly in the queue; said again at each retry. */
  | { kind: 'queued'; at: Date; queueId: string }
  /** A copy lies in a mailbox. `transaction` names the delivery, in which two ways to one mailbox make one copy. */
  | { kind: 'delivered'; at: Date; queueId: string; to: string; addressed: string | undefined; transaction: string }
  /** A copy went to another server, of mail that was written to an address here. */
  | { kind: 'passed'; at: Date; queueId: string; to: string; addressed: string }
  | { kind: 'left'; at: Date; queueId: string }
  | { kind: 'login'; at: Date; address: string };

const postfixLine = /^([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d:\d\d) \S+ postfix(?:\/[\w-]+)*\/(\w+)\[\d+\]: (\w+): (.*)$/;
const submission = /^client=\S+, sasl_method=\S+, sasl_username=([!-~]+@[!-~]+?)(?:, sasl_sender=.*)?$/;
const delivery =
  /^to=<([!-;=?-~]+)>,(?: orig_to=<([!-;=?-~]+)>,)? relay=\S+, (?:conn_use=\d+, )?delay=\S+, delays=\S+, dsn=2\.\S+, status=sent \(250 2\.0\.0 <[^<>]*> ([!-~]+) Saved\)$/;
/** What the other server answered, behind, is whatever it likes. */
const passing =
  /^to=<([!-;=?-~]+)>, orig_to=<([!-;=?-~]+)>, relay=\S+, (?:conn_use=\d+, )?delay=\S+, delays=\S+, dsn=2\.\S+, status=sent \(/;
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** @param now the year is not in the log: it is the one in which the line is not of the future. */
export function parsePostfixLine(line: string, now: Date): LogEvent | undefined {
  const [, month, day, time, program, queueId, text] = postfixLine.exec(line) ?? [];
  if (!month || !day || !time || !queueId || text === undefined) return undefined;
  const at = timeOf(month, day, time, now);
  if (program === 'smtpd') {
    const sender = submission.exec(text)?.[1];
    return sender ? { kind: 'submitted', at, queueId, sender: sender.toLowerCase() } : undefined;
  }
  if (program === 'qmgr') {
    if (text === 'removed') return { kind: 'left', at, queueId };
    return text.startsWith('from=<') && text.endsWith(' (queue active)') ? { kind: 'queued', at, queueId } : undefined;
  }
  if (program === 'smtp') {
    const [, to, addressed] = passing.exec(text) ?? [];
    if (!to || !addressed) return undefined;
    return { kind: 'passed', at, queueId, to: to.toLowerCase(), addressed: addressed.toLowerCase() };
  }
  if (program !== 'lmtp') return undefined;
  const [, to, addressed, transaction] = delivery.exec(text) ?? [];
  if (!to || !transaction) return undefined;
  return { kind: 'delivered', at, queueId, to: to.toLowerCase(), addressed: addressed?.toLowerCase(), transaction };
}

function timeOf(month: string, day: string, time: string, now: Date): Date {
  const monthAndDay = `${String(months.indexOf(month) + 1).padStart(2, '0')}-${day.padStart(2, '0')}`;
  const latest = now.getTime() + 24 * 3600 * 1000;
  const year = now.getUTCFullYear();
  const candidates = [year + 1, year, year - 1].map((one) => new Date(`${one}-${monthAndDay}T${time}Z`));
  return candidates.find((candidate) => candidate.getTime() <= latest) ?? now;
}

const dovecotLogin =
  /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (?:imap|managesieve)-login: Info: Login: user=<([!-;=?-~]+@[!-;=?-~]+)>, /;

export function parseDovecotLine(line: string): LogEvent | undefined {
  const [, date, time, address] = dovecotLogin.exec(line) ?? [];
  return address ? { kind: 'login', at: new Date(`${date}T${time}Z`), address: address.toLowerCase() } : undefined;
}
