/** `congvu export …`: whole lists as CSV or JSON Lines, streamed into a file. */
import { Argument, Option } from 'commander';
import { type AddCommands, action, examples, toQuery } from '../context.ts';
import { UsageError } from '../failure.ts';
import { saveAnswer } from '../files.ts';
import { t } from '../language.ts';

const lists = {
  accounts: ['directory', '/v1/accounts'],
  agencies: ['directory', '/v1/agencies'],
  requests: ['directory', '/v1/requests'],
  audit: ['directory', '/v1/audit-events'],
  certificates: ['certificate', '/v1/certificates'],
} as const;
/** Their words for an agency, and for the time between. */
const filterNames = (what: keyof typeof lists) =>
  what === 'certificates'
    ? { agency: 'agencyCode', from: 'issuedFrom', to: 'issuedBefore' }
    : { agency: what === 'agencies' ? 'under' : 'agencyCode', from: 'from', to: 'to' };
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
    .addArgument(new Argument('<what>', t('danh sách nào', 'which list')).choices(Object.keys(lists)))
    .addOption(new Option('--format <format>', t('dạng tệp', 'form')).choices(Object.keys(mediaTypes)).default('csv'))
    .requiredOption('-o, --output <file>', t('tệp kết quả ("-": đầu ra chuẩn)', 'file to write ("-": standard output)'))
    .option('--agency <code>', t('của cơ quan này và cấp dưới', 'of this agency and below'))
    .option('--from <time>', t('nhật ký, chứng thư số từ lúc này', 'audit events, certificates from this time'))
    .option('--to <time>', t('nhật ký, chứng thư số trước lúc này', 'audit events, certificates before this time'))
    .addHelpText(
      'after',
      examples(
        '  congvu export accounts -o tai-khoan.csv\n  congvu export audit --format jsonl --from 2026-01-01T00:00:00Z -o nhat-ky.jsonl\n  congvu export certificates --agency H41.32 -o chung-thu-so.csv',
      ),
    )
    .action(
      action(credentialsFile, async ({ api, output }, what: keyof typeof lists, options: ExportOptions) => {
        const names = filterNames(what);
        const query = toQuery({ [names.agency]: options.agency, [names.from]: options.from, [names.to]: options.to });
        const [service, list] = lists[what];
        if (service === 'certificate' && !api.credentials.certificateUrl)
          throw new UsageError(
            t(
              'Chưa biết dịch vụ chứng thư số: đăng nhập lại với --certificate.',
              'The certificate service is not known: log in again with --certificate.',
            ),
          );
        const path = query.size > 0 ? `${list}?${query}` : list;
        const accept = mediaTypes[options.format];
        const answer = await api.fetch(service, path, { accept, signal: AbortSignal.timeout(3_600_000) });
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
