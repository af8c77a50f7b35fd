/**
 * Mail as the programs at both ends of it speak: a stranger's server on port 25, a mail program on submission and ManageSieve, Postfix
 * at the mail store (LMTP), and the administrators' `postmap` and doveadm. Refusals come back as the server said them.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import type { Credentials } from '@congvu/local/mail-client';
import { run } from '@congvu/local/process';
import { createTransport } from 'nodemailer';
import type { Platform } from './platform.ts';

export interface Letter {
  from: string;
  to: string | readonly string[];
  subject: string;
  text?: string;
  headers?: Record<string, string>;
}

/** `sent`, or the refusal, such as `550 5.1.1 <…>: …`. One message; each recipient is answered for itself and all must be taken. */
export type Reply = string;

const tls = (platform: Platform) => ({ ca: readFileSync(platform.description.tlsCertificateFile, 'utf8') });

async function handIn(transport: ReturnType<typeof createTransport>, letter: Letter): Promise<Reply> {
  const { from, subject, text = 'Kính gửi.', headers = {} } = letter;
  const to = [letter.to].flat();
  try {
    const { rejectedErrors = [] } = (await transport.sendMail({
      envelope: { from, to },
      from,
      to,
      subject,
      text,
      headers,
    })) as unknown as { rejectedErrors?: { response?: string }[] };
    return rejectedErrors[0]?.response ?? 'sent';
  } catch (error) {
    const { response, message } = error as { response?: string; message: string };
    return response ?? message;
  } finally {
    transport.close();
  }
}

/** From another server in the world: no log-in. */
export const fromOutside = (platform: Platform, letter: Letter): Promise<Reply> =>
  handIn(createTransport({ host: '127.0.0.1', port: smtp(platform).port, ignoreTLS: true }), letter);

/** As a person's mail program. `from` is the author's own address unless told. */
export const submitAs = (
  platform: Platform,
  author: Credentials,
  letter: Omit<Letter, 'from'> & { from?: string },
): Promise<Reply> =>
  handIn(
    createTransport({
      host: '127.0.0.1',
      port: smtp(platform).submissionPort,
      requireTLS: true,
      auth: { user: author.address, pass: author.password },
      tls: tls(platform),
    }),
    { from: author.address, ...letter },
  );

/** At the mail store's own door, where Postfix delivers. */
export const byLmtp = (platform: Platform, letter: Letter): Promise<Reply> =>
  handIn(
    createTransport({ host: '127.0.0.1', port: platform.description.lmtp.port, lmtp: true, ignoreTLS: true }),
    letter,
  );

function smtp({ description }: Platform): { port: number; submissionPort: number } {
  if (!description.smtp) throw new Error('Postfix is left out without root');
  return description.smtp;
}

/** What Postfix finds under `key` in one of its LDAP maps; undefined: nothing. */
export async function postmap(platform: Platform, map: string, key: string): Promise<string[] | undefined> {
  const file = join(platform.engines.stateDirectory, 'postfix/etc', `${map}.cf`);
  const config = join(platform.engines.stateDirectory, 'postfix/etc');
  const found = await run('/usr/sbin/postmap', ['-c', config, '-q', key, `ldap:${file}`]).catch((error: Error) => {
    // postmap(1): exit 1 without a word is "not found".
    if (error.message.includes('failed (1): Command failed')) return '';
    throw error;
  });
  return found.trim() === '' ? undefined : found.trim().split(/,\s*/).sort();
}

/** One command of doveadm's HTTP API; its answer. */
export async function doveadm(platform: Platform, command: string, parameters: object): Promise<unknown> {
  const { doveadmUrl, doveadmAuthorization } = platform.engines.dovecot;
  const answer = await fetch(doveadmUrl, {
    method: 'POST',
    headers: { Authorization: doveadmAuthorization, 'Content-Type': 'application/json' },
    body: JSON.stringify([[command, parameters, 'only']]),
  });
  const [[kind, value]] = (await answer.json()) as [[string, unknown]];
  if (kind === 'error') throw new Error(`doveadm ${command}: ${JSON.stringify(value)}`);
  return value;
}

/** RFC 5804: a person's own script is stored and made the active one; the server's answer to each step, up to its first no. */
export async function activateScript(platform: Platform, author: Credentials, script: string): Promise<Reply[]> {
  const plain = createConnection({ host: '127.0.0.1', port: platform.engines.dovecot.sievePort });
  let socket: Socket = plain;
  try {
    await reply(plain);
    plain.write('STARTTLS\r\n');
    await reply(plain);
    socket = connectTls({ socket: plain, host: '127.0.0.1', ...tls(platform) });
    await reply(socket); // what it can do, again
    const login = Buffer.from(`\0${author.address}\0${author.password}`).toString('base64');
    const answers: Reply[] = [];
    for (const command of [
      `AUTHENTICATE "PLAIN" "${login}"`,
      `PUTSCRIPT "own" {${Buffer.byteLength(script)}+}\r\n${script}`,
      'SETACTIVE "own"',
    ]) {
      socket.write(`${command}\r\n`);
      answers.push(await reply(socket));
      if (!answers.at(-1)?.startsWith('OK')) break;
    }
    return answers;
  } finally {
    socket.destroy();
    plain.destroy();
  }
}

/** Everything up to the line that ends an answer (RFC 5804 section 1.2). */
async function reply(socket: Socket): Promise<Reply> {
  let received = '';
  for (;;) {
    const end = /^(OK|NO|BYE)[\s\S]*\r\n$/m.exec(received);
    if (end) return received.slice(end.index).trim();
    const [chunk] = await once(socket, 'data', { signal: AbortSignal.timeout(10_000) });
    received += String(chunk);
  }
}
