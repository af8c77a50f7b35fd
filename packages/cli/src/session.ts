/**
 * Who is logged in: the client's credentials and its last token, in one file that only its owner can read. A token is asked for
 * again only when the one before ends, so that scripts may run hundreds of commands.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ApiClient, connectApi } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import { z } from 'zod';
import { t } from './language.ts';

const Credentials = z.object({
  directoryUrl: z.url(),
  /** Of the certificate service; without it there are no lists of certificates. */
  certificateUrl: z.url().optional(),
  clientId: z.string(),
  clientSecret: z.string(),
  cached: z.object({ token: z.string(), renewAt: z.number() }).optional(),
});
export type Credentials = z.infer<typeof Credentials>;

/** The API as the client that is logged in. Throws `unauthenticated` when nobody is. */
export function openSession(file: string): ApiClient & { credentials: Credentials } {
  const credentials = readCredentials(file);
  const api = connect(credentials, (cached) => saveCredentials(file, { ...credentials, cached }));
  return { ...api, credentials };
}

/** Proves the credentials by asking for a token, and keeps them. */
export async function logIn(file: string, credentials: Omit<Credentials, 'cached'>): Promise<void> {
  let cached: Credentials['cached'];
  const api = connect(credentials, (token) => {
    cached = token;
  });
  await prove(api);
  saveCredentials(file, { ...credentials, cached });
}

/** Any authenticated call does; a client that may not read agencies is logged in all the same. Makes the token a new one if the last has ended. */
export async function prove(api: ApiClient): Promise<void> {
  await api.fetch('directory', '/v1/agencies?limit=1').catch((error: unknown) => {
    if (!(error instanceof ServiceError) || error.kind !== 'forbidden') throw error;
  });
}

export const logOut = (file: string): void => rmSync(file, { force: true });

function connect(credentials: Credentials, onToken: (cached: NonNullable<Credentials['cached']>) => void): ApiClient {
  const nowhere = 'http://127.0.0.1:9';
  const {
    directoryUrl: directory,
    certificateUrl: certificate = nowhere,
    clientId,
    clientSecret,
    cached,
  } = credentials;
  const urls = { directory, mailbox: nowhere, certificate };
  return connectApi(urls, { clientId, clientSecret, cached, onToken });
}

function readCredentials(file: string): Credentials {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
    // Written by another program or by hand, it may be open to others.
    if (statSync(file).mode & 0o077) chmodSync(file, 0o600);
  } catch (cause) {
    throw notLoggedIn(t('Chưa đăng nhập: hãy chạy "congvu login".', 'Nobody is logged in: run "congvu login".'), cause);
  }
  try {
    return Credentials.parse(JSON.parse(text));
  } catch (cause) {
    const detail = t(
      'Tệp đăng nhập bị hỏng: hãy chạy "congvu login".',
      'The credentials file is damaged: run "congvu login".',
    );
    throw notLoggedIn(detail, cause);
  }
}

const notLoggedIn = (detail: string, cause: unknown): ServiceError =>
  new ServiceError({ kind: 'unauthenticated', code: 'not_logged_in', detail, cause });

/** As a whole or not at all, and for its owner's eyes alone. */
function saveCredentials(file: string, credentials: Credentials): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, file);
}
