/** `congvu sheets …`: an HR spreadsheet becomes a draft; its remarks come back; corrected, it is sent again. */
import { basename } from 'node:path';
import { z } from 'zod';
import { type AddCommands, action, type Context, examples, group, toQuery } from '../context.ts';
import { exitCodes } from '../failure.ts';
import { readFileWithType, saveAnswer } from '../files.ts';
import { t, word } from '../language.ts';
import { showLines, submitDraft } from './requests.ts';

const Draft = z.looseObject({
  id: z.string(),
  state: z.string(),
  version: z.number(),
  lineCount: z.number(),
  refusedCount: z.number().default(0),
});
type Draft = z.infer<typeof Draft>;

interface SubmitOptions {
  agency: string;
  decisionNumber?: string;
  decisionDate?: string;
  send?: boolean;
  leaveOutRefused?: boolean;
}

export const sheetCommands: AddCommands = (program, credentialsFile) => {
  const sheets = group(
    program,
    'sheets',
    t('bảng danh sách cán bộ (XLSX, CSV) thành phiếu đề nghị', 'staff spreadsheets (XLSX, CSV) as requests'),
  );
  const leaveOut = [
    '--leave-out-refused',
    t('gửi cả khi có dòng bị từ chối: bỏ các dòng đó', 'send although lines are refused: leave those out'),
  ] as const;

  sheets
    .command('submit <file>')
    .description(t('đọc bảng thành bản nháp; --send gửi luôn', 'read a sheet into a draft; --send submits it'))
    .requiredOption('--agency <code>', t('mã cơ quan đề nghị', 'code of the agency that asks'))
    .option('--decision-number <number>', t('số công văn', 'number of the document it rests on'))
    .option('--decision-date <date>', t('ngày công văn (YYYY-MM-DD)', 'its date (YYYY-MM-DD)'))
    .option('--send', t('gửi duyệt nếu mọi dòng đều đúng', 'submit it if every line is sound'))
    .option(...leaveOut)
    .addHelpText(
      'after',
      examples(
        '  congvu sheets submit danh-sach.xlsx --agency H41.32\n  congvu sheets submit staff.csv --agency H41.32 --send --leave-out-refused',
      ),
    )
    .action(
      action(credentialsFile, async (context, file: string, options: SubmitOptions) => {
        const { body, contentType } = readFileWithType(file);
        const query = toQuery({
          agencyCode: options.agency,
          fileName: basename(file),
          decisionNumber: options.decisionNumber,
          decisionDate: options.decisionDate,
        });
        context.output.note(t('Đang đọc bảng…', 'Reading the sheet…'));
        const sent = { method: 'POST', body, contentType, signal: AbortSignal.timeout(600_000) } as const;
        await afterReading(context, await context.api.call('directory', `/v1/sheets?${query}`, Draft, sent), options);
      }),
    );

  sheets
    .command('correct <request> <file>')
    .description(t('gửi lại bảng đã sửa', 'send the corrected sheet'))
    .option('--send', t('gửi duyệt nếu mọi dòng đều đúng', 'submit it if every line is sound'))
    .option(...leaveOut)
    .action(
      action(
        credentialsFile,
        async (context, request: string, file: string, options: Pick<SubmitOptions, 'send' | 'leaveOutRefused'>) => {
          const { body, contentType } = readFileWithType(file);
          const sent = { method: 'PUT', body, contentType, signal: AbortSignal.timeout(600_000) } as const;
          const path = `/v1/requests/${encodeURIComponent(request)}/sheet`;
          await afterReading(context, await context.api.call('directory', path, Draft, sent), options);
        },
      ),
    );

  sheets
    .command('remarks <request>')
    .description(t('tải bảng kèm cột kết quả kiểm tra', 'download the sheet with its column of remarks'))
    .requiredOption('-o, --output <file>', t('tệp kết quả', 'file to write'))
    .action(
      action(credentialsFile, async ({ api }, request: string, { output }: { output: string }) => {
        await saveAnswer(await api.fetch('directory', `/v1/requests/${encodeURIComponent(request)}/sheet`), output);
      }),
    );
};

async function afterReading(
  context: Context,
  draft: Draft,
  { send, leaveOutRefused }: Pick<SubmitOptions, 'send' | 'leaveOutRefused'>,
): Promise<void> {
  const { output } = context;
  const refused = draft.refusedCount;
  const sendable = send && (refused === 0 || leaveOutRefused);
  const request = sendable ? await submitDraft(context, draft, leaveOutRefused === true) : draft;
  output.record(request, [
    [t('Phiếu', 'Request'), draft.id],
    [t('Trạng thái', 'State'), word(request.state)],
    [t('Số dòng', 'Lines'), draft.lineCount],
    [t('Bị từ chối', 'Refused'), refused],
  ]);
  if (refused === 0) return;
  if (!output.json) await showLines(context, draft.id, 'refused', 20);
  output.note(
    t(
      `Tải bảng kèm nhận xét: congvu sheets remarks ${draft.id} -o nhan-xet.xlsx`,
      `The sheet with remarks: congvu sheets remarks ${draft.id} -o remarks.xlsx`,
    ),
  );
  if (!sendable) process.exitCode = exitCodes.invalid;
}
