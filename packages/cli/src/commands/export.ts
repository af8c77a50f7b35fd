/** `congvu export …`: whole lists as CSV or JSON Lines, streamed into a file. */
import { Argument, Option } from 'commander';
import { type AddCommands, action, examples, toQuery } from '../context.ts';
import { UsageError } from '../failure.ts';
import { saveAnswer } from '../files.ts';
import { t } from '../language.ts';

const paths = {
  accounts: '/v1/accounts',
  agencies: '/v1/agencies',
  requests: '/v1/requests',
  audit: '/v1/audit-events',
} as const;
const mediaTypes = { csv: 'text/csv', jsonl: 'application/jsonl' } as const;

interface ExportOptions {
  format: keyof typeof mediaTypes;
  output: string;
  agency?: string;
  from?: string;
  to?: string;
}

export const exportCommands: AddCommands = (program, credentialsFile) => {
  program
    .command('export')
    .description(t('xuất cả danh sách ra tệp', 'write a whole list to a file'))
    .addArgument(new Argument('<what>', t('danh sách nào', 'which list')).choices(Object.keys(paths)))
    .addOption(new Option('--format <format>', t('dạng tệp', 'form')).choices(Object.keys(mediaTypes)).default('csv'))
    .requiredOption('-o, --output <file>', t('tệp kết quả ("-": đầu ra chuẩn)', 'file to write ("-": standard output)'))
    .option('--agency <code>', t('của cơ quan này và cấp dưới', 'of this agency and below'))
    .option('--from <time>', t('nhật ký từ lúc này', 'audit events from this time'))
    .option('--to <time>', t('nhật ký trước lúc này', 'audit events before this time'))
    .addHelpText(
      'after',
      examples(
        '  congvu export accounts -o tai-khoan.csv\n  congvu export audit --format jsonl --from 2026-01-01T00:00:00Z -o nhat-ky.jsonl',
      ),
    )
    .action(
      action(credentialsFile, async ({ api, output }, what: keyof typeof paths, options: ExportOptions) => {
        const query = toQuery({
          [what === 'agencies' ? 'under' : 'agencyCode']: options.agency,
          from: options.from,
          to: options.to,
        });
        const path = query.size > 0 ? `${paths[what]}?${query}` : paths[what];
        const accept = mediaTypes[options.format];
        const answer = await api.fetch('directory', path, { accept, signal: AbortSignal.timeout(3_600_000) });
        // A list that has no such form answers with its first page: that would be an export with most of it missing.
        if (!answer.headers.get('content-type')?.startsWith(accept)) {
          throw new UsageError(
            t(`Danh sách này không xuất được dạng ${options.format}.`, `This list cannot be had as ${options.format}.`),
          );
        }
        const progress = output.progress(t('Số dòng', 'Lines'));
        await saveAnswer(answer, options.output, progress);
        progress.stop();
      }),
    );
};
