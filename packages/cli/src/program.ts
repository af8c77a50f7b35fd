/** All commands, with help in the chosen language. */
import { Command, Option } from 'commander';
import { accountCommands } from './commands/accounts.ts';
import { agencyCommands } from './commands/agencies.ts';
import { exportCommands } from './commands/export.ts';
import { reconciliationCommands } from './commands/reconciliation.ts';
import { requestCommands } from './commands/requests.ts';
import { sessionCommands } from './commands/session.ts';
import { sheetCommands } from './commands/sheets.ts';
import { t } from './language.ts';
import { note } from './output.ts';

export function createProgram(credentialsFile: string): Command {
  const program = new Command('congvu')
    .description(
      t(
        'Thư công vụ, tài khoản và chứng thư số của tỉnh, từ dòng lệnh.',
        "The province's official e-mail, accounts and certificates, from the command line.",
      ),
    )
    .version('0.1.0', '-V, --version', t('in phiên bản', 'print the version'))
    .helpOption('-h, --help', t('xem hướng dẫn', 'show help'))
    .helpCommand('help [command]', t('xem hướng dẫn của một lệnh', 'show the help of a command'))
    .option('--json', t('kết quả dạng JSON, cho chương trình', 'answer in JSON, for scripts'))
    .addOption(new Option('--lang <lang>', t('ngôn ngữ', 'language')).choices(['vi', 'en']))
    .configureHelp({ styleTitle: translateTitle, showGlobalOptions: true })
    .configureOutput({ writeErr: (text) => note(text.trimEnd()) })
    .showHelpAfterError(t('(thêm --help để xem hướng dẫn)', '(add --help for how it is used)'))
    .addHelpText('after', exitCodesHelp())
    .exitOverride();
  for (const add of [
    sessionCommands,
    agencyCommands,
    sheetCommands,
    requestCommands,
    accountCommands,
    reconciliationCommands,
    exportCommands,
  ]) {
    add(program, credentialsFile);
  }
  return program;
}

function translateTitle(title: string): string {
  const titles: Record<string, string> = {
    'Usage:': t('Cách dùng:', 'Usage:'),
    'Options:': t('Tùy chọn:', 'Options:'),
    'Global Options:': t('Tùy chọn chung:', 'Global options:'),
    'Commands:': t('Các lệnh:', 'Commands:'),
    'Arguments:': t('Tham số:', 'Arguments:'),
  };
  return titles[title] ?? title;
}

const exitCodesHelp = (): string =>
  t(
    `
Mã kết thúc: 0 xong; 1 lỗi; 2 gọi sai cách; 3 chưa đăng nhập hoặc không có quyền; 4 không tìm thấy;
5 dữ liệu sai; 6 xung đột (đã có người thay đổi); 7 máy chủ không trả lời.

Ví dụ:
  congvu login --directory https://danhba.nghean.gov.vn --client-id 6f1e5f0c-…
  congvu sheets submit danh-sach.xlsx --agency H41.32 --send
  congvu requests approve 8d0f… --follow
  congvu accounts search "huong giang quynh luu"
`,
    `
Exit codes: 0 done; 1 failed; 2 called wrongly; 3 not logged in or not allowed; 4 not found; 5 wrong input;
6 conflict (somebody changed it); 7 the server does not answer.

Examples:
  congvu login --directory https://directory.nghean.gov.vn --client-id 6f1e5f0c-…
  congvu sheets submit staff.xlsx --agency H41.32 --send
  congvu requests approve 8d0f… --follow
  congvu accounts search "huong giang quynh luu"
`,
  );
