/** An SMTP client that says what the server answered to each command, which libraries keep to themselves; for tests and measures. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface SmtpSession {
  /** The server's reply, whole: `250 2.1.5 Ok`. */
  command(line: string): Promise<string>;
  /** Many at once (RFC 2920). */
  commands(lines: readonly string[]): Promise<string[]>;
  /** After DATA was answered by 354. */
  message(text: string): Promise<string>;
  close(): void;
}

export async function openSmtp(options: {
  port: number;
  /** STARTTLS with this authority, then a log-in. */
  login?: { ca: string; user: string; password: string };
}): Promise<SmtpSession> {
  let socket: Socket = connect({ host: '127.0.0.1', port: options.port });
  let replies = readReplies(socket);
  const read = async (): Promise<string> => {
    const { value, done } = await replies.next();
    if (done) throw new Error('the SMTP server closed the connection');
    return value;
  };
  const command = (line: string): Promise<string> => {
    socket.write(`${line}\r\n`);
    return read();
  };
  await read();
  await command('EHLO client.example.org');
  if (options.login) {
    const { ca, user, password } = options.login;
    await command('STARTTLS');
    const secured = connectTls({ socket, ca, host: '127.0.0.1' });
    await once(secured, 'secureConnect');
    socket = secured;
    replies = readReplies(secured);
    await command('EHLO client.example.org');
    const answer = await command(`AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString('base64')}`);
    if (!answer.startsWith('235')) throw new Error(`the log-in failed: ${answer}`);
  }
  return {
    command,
    commands: async (lines) => {
      socket.write(lines.map((line) => `${line}\r\n`).join(''));
      const answers = [];
      for (const _ of lines) answers.push(await read());
      return answers;
    },
    message: (text) => command(`${text.replace(/\r?\n/g, '\r\n').replace(/^\./gm, '..')}\r\n.`),
    close: () => socket.destroy(),
  };
}

async function* readReplies(socket: Socket): AsyncGenerator<string, undefined> {
  let pending = '';
  socket.on('error', () => undefined); // the iteration ends with it
  for await (const chunk of socket) {
    pending += chunk;
    for (let found = wholeReply.exec(pending); found; found = wholeReply.exec(pending)) {
      pending = pending.slice(found[0].length);
      yield found[0].trim();
    }
  }
}

/** Lines `250-…` and a last one `250 …`. */
const wholeReply = /^(?:\d{3}-.*\r\n)*\d{3}(?: .*)?\r\n/;
