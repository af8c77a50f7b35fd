/** `congvu login`, `logout`, `whoami`. */
import { text } from 'node:stream/consumers';
import password from '@inquirer/password';
import { type AddCommands, action, examples } from '../context.ts';
import { UsageError } from '../failure.ts';
import { readLocalFile } from '../files.ts';
import { t } from '../language.ts';
import { createOutput } from '../output.ts';
import { logIn, logOut, prove } from '../session.ts';

interface LoginOptions {
  directory?: string;
  certificate?: string;
  clientId?: string;
  secretFile?: string;
  stack?: string;
  as: string;
  json?: boolean;
}

export const sessionCommands: AddCommands = (program, credentialsFile) => {
  program
    .command('login')
    .description(t('đăng nhập bằng mã và bí mật của chương trình khách', 'log in with a client id and its secret'))
    .option('--directory <url>', t('địa chỉ dịch vụ danh bạ', 'URL of the directory service'))
    .option(
      '--certificate <url>',
      t('địa chỉ dịch vụ chứng thư số, nếu cần danh sách của nó', 'URL of the certificate service, for its lists'),
    )
    .option('--client-id <id>', t('mã chương trình khách', 'client id'))
    .option(
      '--secret-file <file>',
      t(
        'đọc bí mật từ tệp ("-": đầu vào chuẩn); nếu không có thì hỏi',
        'read the secret from a file ("-": standard input); asked for otherwise',
      ),
    )
    .option('--stack <file>', t('tệp mô tả của "npm start"', 'the description that "npm start" wrote'))
    .option('--as <role>', t('vai trò trong --stack', 'the role within --stack'), 'administrator')
    .addHelpText(
      'after',
      examples(
        '  congvu login --directory https://danhba.nghean.gov.vn --client-id 6f1e5f0c-8f57-4c3e-9a10-4a3c6de0a001\n  congvu login --stack .congvu/stack.json --as administrator',
      ),
    )
    .action(async (options: LoginOptions, command) => {
      const credentials = options.stack ? fromStack(options.stack, options.as) : await fromOptions(options);
      await logIn(credentialsFile, credentials);
      const { json } = command.optsWithGlobals();
      createOutput(json === true).note(t('Đã đăng nhập.', 'Logged in.'));
    });

  program
    .command('logout')
    .description(t('đăng xuất: xóa bí mật khỏi máy này', 'log out: remove the secret from this machine'))
    .action(() => logOut(credentialsFile));

  program
    .command('whoami')
    .description(t('đang đăng nhập là ai, với quyền gì', 'who is logged in, with which permissions'))
    .action(
      action(credentialsFile, async ({ api, output }) => {
        await prove(api);
        const claims = readClaims(api.credentials.cached?.token);
        const who = {
          clientId: api.credentials.clientId,
          directory: api.credentials.directoryUrl,
          agencyCode: claims.agency ?? null,
          permissions: claims.scope?.split(' ') ?? [],
        };
        output.record(who, [
          [t('Chương trình khách', 'Client'), who.clientId],
          [t('Danh bạ', 'Directory'), who.directory],
          [t('Thay mặt cơ quan', 'Acts for agency'), who.agencyCode],
          [t('Quyền', 'Permissions'), who.permissions.join(' ')],
        ]);
      }),
    );
};

async function fromOptions({ directory, certificate, clientId, secretFile }: LoginOptions) {
  if (!directory || !clientId)
    throw new UsageError(t('Cần --directory và --client-id.', '--directory and --client-id are needed.'));
  for (const url of [directory, certificate])
    if (url !== undefined && !URL.canParse(url))
      throw new UsageError(t(`"${url}" không phải là một URL.`, `"${url}" is not a URL.`));
  if (secretFile === undefined && !process.stdin.isTTY)
    throw new UsageError(
      t('Không có bàn phím để hỏi: cần --secret-file.', 'There is no terminal to ask on: --secret-file is needed.'),
    );
  const secret =
    secretFile === undefined
      ? await password({ message: t('Bí mật', 'Secret'), mask: true })
      : secretFile === '-'
        ? await text(process.stdin)
        : readLocalFile(secretFile).toString();
  const clientSecret = secret.split(/\r?\n/, 1)[0]?.trim() ?? '';
  if (!clientSecret) throw new UsageError(t('Bí mật rỗng.', 'The secret is empty.'));
  const [directoryUrl, certificateUrl] = [withoutSlash(directory), certificate && withoutSlash(certificate)];
  return { directoryUrl, ...(certificateUrl ? { certificateUrl } : {}), clientId, clientSecret };
}

const withoutSlash = (url: string): string => url.replace(/\/+$/, '');

function fromStack(file: string, role: string) {
  const stack = JSON.parse(readLocalFile(file).toString());
  const client = stack.clients?.[role];
  if (!client) {
    const known = Object.keys(stack.clients ?? {}).join(', ');
    throw new UsageError(
      t(`Không có vai trò "${role}"; có: ${known}.`, `There is no role "${role}"; there are: ${known}.`),
    );
  }
  const { directory, certificate } = stack.services;
  const { clientId, clientSecret } = client;
  return { directoryUrl: directory, certificateUrl: certificate, clientId, clientSecret };
}

/** The server verifies tokens; here its own is only shown. */
function readClaims(token: string | undefined): { agency?: string; scope?: string } {
  const payload = token?.split('.')[1];
  return payload ? JSON.parse(Buffer.from(payload, 'base64url').toString()) : {};
}
