/** `congvu accounts …`: search, read, suspend, resume, retire, activation codes and slips. */
import { ServiceError } from '@congvu/errors';
import { z } from 'zod';
import {
  type AddCommands,
  action,
  type Context,
  examples,
  fetchItems,
  group,
  toQuery,
  wholeNumber,
} from '../context.ts';
import { saveAnswer } from '../files.ts';
import { t, word } from '../language.ts';

const Account = z.looseObject({
  id: z.string(),
  kind: z.string(),
  state: z.string(),
  username: z.string(),
  address: z.string(),
  displayName: z.string(),
  title: z.string().nullish(),
  agencyCode: z.string(),
  agencyName: z.string(),
  version: z.number(),
});
type Account = z.infer<typeof Account>;
const Code = z.looseObject({ address: z.string(), code: z.string(), expiresAt: z.string() });

const pathOf = (id: string, rest = ''): string => `/v1/accounts/${encodeURIComponent(id)}${rest}`;

interface SearchOptions {
  agency?: string;
  state?: string;
  kind?: string;
  limit: number;
}

export const accountCommands: AddCommands = (program, credentialsFile) => {
  const accounts = group(
    program,
    'accounts',
    t('tài khoản: tìm, khóa, mở, thu hồi', 'accounts: find, suspend, resume, retire'),
  );
  const reason = ['--reason <text>', t('lý do', 'the reason')] as const;
  const account = '<account>';

  accounts
    .command('search [text]')
    .description(
      t(
        'tìm theo một phần của tên (có dấu hay không), địa chỉ, cơ quan, chức vụ, mã',
        'find by any part of a name (with or without marks), address, agency, position, code',
      ),
    )
    .option('--agency <code>', t('trong cơ quan này và cấp dưới', 'at this agency and below'))
    .option('--state <state>', 'active | suspended | retired')
    .option('--kind <kind>', 'person | position | agency | service')
    .option('--limit <n>', t('nhiều nhất', 'at most'), wholeNumber, 50)
    .addHelpText(
      'after',
      examples('  congvu accounts search "hương giang"\n  congvu accounts search "van thu quynh luu" --json'),
    )
    .action(
      action(credentialsFile, async ({ api, output }, text: string | undefined, options: SearchOptions) => {
        const query = { q: text, agencyCode: options.agency, state: options.state, kind: options.kind };
        output.list(await fetchItems(api, '/v1/accounts', query, Account, options.limit), [
          { title: t('Họ và tên', 'Name'), value: (row) => row.displayName },
          { title: t('Địa chỉ', 'Address'), value: (row) => row.address },
          { title: t('Chức vụ', 'Position'), value: (row) => row.title },
          { title: t('Cơ quan', 'Agency'), value: (row) => `${row.agencyCode} ${row.agencyName}` },
          { title: t('Trạng thái', 'State'), value: (row) => word(row.state) },
        ]);
      }),
    );

  accounts
    .command(`show ${account}`)
    .description(t('một tài khoản, theo mã, tên hoặc địa chỉ', 'one account, by id, username or address'))
    .action(action(credentialsFile, async (context, name: string) => show(context, await findAccount(context, name))));

  accounts
    .command(`suspend ${account}`)
    .description(t('tạm khóa: không đăng nhập được ở đâu', 'suspend: no log-in anywhere'))
    .requiredOption(...reason)
    .option('--until <time>', t('tự mở lại lúc này (RFC 3339)', 'resumes by itself at this time (RFC 3339)'))
    .addHelpText(
      'after',
      examples('  congvu accounts suspend dienht --reason "Nghỉ không lương" --until 2027-03-01T00:00:00Z'),
    )
    .action(change(credentialsFile, 'suspend'));
  accounts
    .command(`resume ${account}`)
    .description(t('mở lại tài khoản đã khóa', 'let a suspended account resume'))
    .requiredOption(...reason)
    .action(change(credentialsFile, 'resume'));
  accounts
    .command(`retire ${account}`)
    .description(
      t(
        'thu hồi: hộp thư được giữ một thời gian, chứng thư bị thu hồi',
        'retire: the mailbox is kept for a time, certificates are revoked',
      ),
    )
    .requiredOption(...reason)
    .action(change(credentialsFile, 'retire'));
  accounts
    .command(`reactivate ${account}`)
    .description(t('khôi phục trong thời gian lưu giữ', 'bring back within the retention'))
    .requiredOption(...reason)
    .action(change(credentialsFile, 'reactivate'));

  accounts
    .command(`code ${account}`)
    .description(t('mã kích hoạt mới, chỉ hiện lần này', 'a new activation code, shown this once'))
    .action(
      action(credentialsFile, async (context, name: string) => {
        const { id } = await findAccount(context, name);
        const code = await context.api.call('directory', pathOf(id, '/activation-code'), Code, { method: 'POST' });
        context.output.record(code, [
          [t('Địa chỉ', 'Address'), code.address],
          [t('Mã kích hoạt', 'Activation code'), code.code],
          [t('Hết hạn', 'Expires'), code.expiresAt],
        ]);
      }),
    );

  accounts
    .command('slips <request>')
    .description(t('phiếu kích hoạt (PDF), mỗi người một phiếu', 'activation slips (PDF), one per person'))
    .requiredOption('-o, --output <file>', t('tệp kết quả', 'file to write'))
    .action(
      action(credentialsFile, async ({ api }, request: string, { output }: { output: string }) => {
        const path = `/v1/requests/${encodeURIComponent(request)}/activation-slips`;
        const options = { method: 'POST', accept: 'application/pdf', signal: AbortSignal.timeout(600_000) } as const;
        await saveAnswer(await api.fetch('directory', path, options), output);
      }),
    );
};

const change = (credentialsFile: string, verb: 'suspend' | 'resume' | 'retire' | 'reactivate') =>
  action(credentialsFile, async (context, name: string, { reason, until }: { reason: string; until?: string }) => {
    const { id, version } = await findAccount(context, name);
    const body = { reason, ...(until ? { until } : {}) };
    const headers = { 'If-Match': `"${version}"` };
    show(
      context,
      await context.api.call('directory', pathOf(id, `/${verb}`), Account, { method: 'POST', body, headers }),
    );
  });

/** By id, address or username. */
async function findAccount({ api }: Context, name: string): Promise<Account> {
  if (z.uuid().safeParse(name).success) return api.call('directory', pathOf(name), Account);
  const query = toQuery(name.includes('@') ? { address: name.toLowerCase() } : { q: name, limit: '500' });
  const page = await api.call('directory', `/v1/accounts?${query}`, z.looseObject({ items: z.array(Account) }));
  const account = page.items.find((one) => [one.address, one.username].includes(name.toLowerCase()));
  if (account) return account;
  throw new ServiceError({
    kind: 'not_found',
    code: 'account_not_found',
    detail: t(`Không có tài khoản "${name}".`, `There is no account "${name}".`),
  });
}

const show = ({ output }: Context, account: Account): void =>
  output.record(account, [
    [t('Mã', 'Id'), account.id],
    [t('Họ và tên', 'Name'), account.displayName],
    [t('Địa chỉ', 'Address'), account.address],
    [t('Chức vụ', 'Position'), account.title],
    [t('Cơ quan', 'Agency'), `${account.agencyCode} ${account.agencyName}`],
    [t('Loại', 'Kind'), word(account.kind)],
    [t('Trạng thái', 'State'), word(account.state)],
  ]);
