/** Mail as a person's mail program does it: IMAP over TLS, submission with log-in, messages signed with S/MIME by OpenSSL. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';
import { run } from './process.ts';
import type { StackDescription } from './stack.ts';

export interface Credentials {
  address: string;
  password: string;
}

const tls = async (stack: StackDescription) => ({ ca: await readFile(stack.tlsCertificateFile, 'utf8') });

async function withImap<T>(
  stack: StackDescription,
  { address, password }: Credentials,
  work: (imap: ImapFlow) => Promise<T>,
): Promise<T> {
  const imap = new ImapFlow({
    host: stack.imap.host,
    port: stack.imap.tlsPort,
    secure: true,
    auth: { user: address, pass: password },
    tls: await tls(stack),
    logger: false,
  });
  imap.on('error', () => undefined); // the pending call rejects with it
  await imap.connect();
  try {
    return await work(imap);
  } finally {
    await imap.logout().catch(() => undefined);
  }
}

/** Whether the mail store lets this person in. Throws when it does not answer at all. */
export async function canLogIn(stack: StackDescription, credentials: Credentials): Promise<boolean> {
  try {
    await withImap(stack, credentials, async () => undefined);
    return true;
  } catch (error) {
    if ((error as { authenticationFailed?: boolean }).authenticationFailed) return false;
    throw error;
  }
}

/** All folders that the person sees, those that others share included. */
export const listFolders = (stack: StackDescription, credentials: Credentials): Promise<string[]> =>
  withImap(stack, credentials, async (imap) => (await imap.list()).map(({ path }) => path));

/** Every message in INBOX, whole. */
export const readInbox = (
  stack: StackDescription,
  credentials: Credentials,
): Promise<{ subject: string; messageId: string; source: Buffer }[]> =>
  withImap(stack, credentials, async (imap) => {
    const lock = await imap.getMailboxLock('INBOX');
    try {
      const messages: { subject: string; messageId: string; source: Buffer }[] = [];
      // RFC 9051 section 6.4.5: a sequence number that is not there is an error, so an empty mailbox is not asked.
      if (imap.mailbox && imap.mailbox.exists === 0) return messages;
      for await (const message of imap.fetch('1:*', { envelope: true, source: true })) {
        messages.push({
          subject: message.envelope?.subject ?? '',
          messageId: message.envelope?.messageId ?? '',
          source: message.source ?? Buffer.alloc(0),
        });
      }
      return messages;
    } finally {
      lock.release();
    }
  });

/** Waits for a message in INBOX by its subject. */
export async function waitForMessage(
  stack: StackDescription,
  credentials: Credentials,
  subject: RegExp,
  timeoutMs = 15_000,
) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = (await readInbox(stack, credentials)).find((message) => subject.test(message.subject));
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`no message with subject ${subject} came to ${credentials.address}`);
    await sleep(250);
  }
}

/** Hands a finished message in, in the name of `sender` (the author unless told): by submission as its author, or where there is no Postfix, to the store by LMTP. */
export async function sendMessage(
  stack: StackDescription,
  author: Credentials,
  to: string,
  message: string | Buffer,
  sender = author.address,
): Promise<void> {
  const transport = stack.smtp
    ? createTransport({
        host: stack.smtp.host,
        port: stack.smtp.submissionPort,
        requireTLS: true,
        auth: { user: author.address, pass: author.password },
        tls: await tls(stack),
      })
    : createTransport({ host: stack.lmtp.host, port: stack.lmtp.port, lmtp: true, ignoreTLS: true });
  try {
    await transport.sendMail({ envelope: { from: sender, to }, raw: message });
  } finally {
    transport.close();
  }
}

/** A directory for OpenSSL's files, gone afterwards. */
export async function withScratch<T>(work: (path: (name: string) => string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'congvu-'));
  try {
    return await work((name) => join(directory, name));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const toPem = (label: string, der: Buffer): string =>
  [`-----BEGIN ${label}-----`, ...(der.toString('base64').match(/.{1,64}/g) ?? []), `-----END ${label}-----`, ''].join(
    '\n',
  );

/** A message signed by the key in a PKCS#12 file (RFC 8551), as OpenSSL makes it. */
export const signMessage = (
  author: { address: string; pkcs12: Buffer; passphrase: string },
  message: { to: string; subject: string; text: string },
): Promise<string> =>
  withScratch(async (path) => {
    await writeFile(path('id.p12'), author.pkcs12, { mode: 0o600 });
    await writeFile(path('pass'), author.passphrase, { mode: 0o600 });
    const open = ['pkcs12', '-in', path('id.p12'), '-passin', `file:${path('pass')}`, '-nodes'];
    await run('openssl', [...open, '-clcerts', '-out', path('id.pem')]);
    await run('openssl', [...open, '-cacerts', '-nokeys', '-out', path('chain.pem')]);
    await writeFile(path('text'), `Content-Type: text/plain; charset=utf-8\r\n\r\n${message.text}\r\n`);
    return run('openssl', [
      'cms',
      '-sign',
      '-in',
      path('text'),
      '-signer',
      path('id.pem'),
      '-certfile', // the whole chain goes along, as mail programs send it
      path('chain.pem'),
      '-md',
      'sha256',
      '-from',
      author.address,
      '-to',
      message.to,
      '-subject',
      `=?UTF-8?B?${Buffer.from(message.subject).toString('base64')}?=`,
    ]);
  });

/**
 * The text of a signed message, if OpenSSL verifies it up to the root: by the signer's certificate as LDAP has it (the one in
 * the message is not looked at).
 */
export const verifyMessage = (
  source: Buffer,
  proof: { signerCertificate: Buffer; rootCertificateFile: string },
): Promise<string> =>
  withScratch(async (path) => {
    await writeFile(path('message'), source);
    await writeFile(path('signer'), toPem('CERTIFICATE', proof.signerCertificate));
    await run('openssl', [
      'cms',
      '-verify',
      '-in',
      path('message'),
      '-nointern',
      '-certfile',
      path('signer'),
      '-CAfile',
      proof.rootCertificateFile,
      '-purpose',
      'smimesign',
      '-out',
      path('text'),
    ]);
    return readFile(path('text'), 'utf8');
  });

/** What `openssl verify` says of a certificate against root and CRLs; throws what it says when it refuses. */
export const verifyCertificate = (proof: {
  certificate: Buffer;
  issuingCertificate: Buffer;
  rootCertificateFile: string;
  crls: readonly Buffer[];
}): Promise<string> =>
  withScratch(async (path) => {
    await writeFile(path('certificate'), toPem('CERTIFICATE', proof.certificate));
    await writeFile(path('issuing'), toPem('CERTIFICATE', proof.issuingCertificate));
    await writeFile(path('crls'), proof.crls.map((crl) => toPem('X509 CRL', crl)).join(''));
    const said = await run('openssl', [
      'verify',
      '-x509_strict',
      '-crl_check',
      '-purpose',
      'smimesign',
      '-CAfile',
      proof.rootCertificateFile,
      '-untrusted',
      path('issuing'),
      '-CRLfile',
      path('crls'),
      path('certificate'),
    ]);
    return said.trim().replace(path('certificate'), 'certificate');
  });

/** A key pair of the holder's own and its CSR, as a token would make them. */
export const makeCsr = (): Promise<{ privateKeyPem: string; csrPem: string }> =>
  withScratch(async (path) => {
    await run('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', path('key')]);
    const csrPem = await run('openssl', ['req', '-new', '-key', path('key'), '-subj', '/CN=anything']);
    return { privateKeyPem: await readFile(path('key'), 'utf8'), csrPem };
  });
