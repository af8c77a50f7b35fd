/** `congvu requests …`: list, read, decide, follow until everything stands. */
import { z } from 'zod';
import { type AddCommands, action, type Context, examples, fetchItems, group, watch, wholeNumber } from '../context.ts';
import { exitCodes, UsageError } from '../failure.ts';
import { t, word } from '../language.ts';

const Summary = z.looseObject({
  id: z.string(),
  state: z.string(),
  agencyCode: z.string(),
  agencyName: z.string(),
  version: z.number(),
  lineCount: z.number(),
  fulfilledCount: z.number(),
  failedCount: z.number().default(0),
  rejectedCount: z.number().default(0),
  refusedCount: z.number().default(0),
  dueAt: z.string().nullish(),
  late: z.boolean().optional(),
  submittedAt: z.string().nullish(),
  submittedBy: z.looseObject({ name: z.string() }).nullish(),
  remark: z.string().nullish(),
});
type Summary = z.infer<typeof Summary>;

const Line = z.looseObject({
  lineNumber: z.number(),
  operation: z.string().optional(),
  kind: z.string().nullish(),
  state: z.string(),
  fullName: z.string().nullish(),
  title: z.string().nullish(),
  account: z.looseObject({ address: z.string() }).nullish(),
  findings: z.array(z.looseObject({ cell: z.string().nullish(), detail: z.string() })).default([]),
  failure: z.looseObject({ detail: z.string() }).nullish(),
});
const Username = z.looseObject({
  lineNumber: z.number(),
  name: z.string(),
  username: z.string(),
  address: z.string(),
});

const pathOf = (id: string, rest = ''): string => `/v1/requests/${encodeURIComponent(id)}${rest}`;
const read = ({ api }: Context, id: string): Promise<Summary> => api.call('directory', pathOf(id), Summary);

export const requestCommands: AddCommands = (program, credentialsFile) => {
  const requests = group(
    program,
    'requests',
    t('phiếu đề nghị: xem, duyệt, theo dõi', 'requests: read, decide, follow'),
  );
  const remark = ['--remark <text>', t('ý kiến', 'remark')] as const;

  requests
    .command('list')
    .description(t('danh sách phiếu', 'list requests'))
    .option('--state <state>', 'draft | submitted | returned | approved | rejected | cancelled | fulfilled')
    .option('--agency <code>', t('của cơ quan này và cấp dưới', 'of this agency and below'))
    .option('--late', t('chỉ phiếu quá hạn', 'only those that are late'))
    .option('--limit <n>', t('nhiều nhất', 'at most'), wholeNumber, 50)
    .action(
      action(
        credentialsFile,
        async ({ api, output }, options: { state?: string; agency?: string; late?: boolean; limit: number }) => {
          const query = { state: options.state, agencyCode: options.agency, late: options.late ? 'true' : undefined };
          output.list(await fetchItems(api, '/v1/requests', query, Summary, options.limit), [
            { title: t('Phiếu', 'Request'), value: (row) => row.id },
            { title: t('Trạng thái', 'State'), value: (row) => word(row.state) },
            { title: t('Cơ quan', 'Agency'), value: (row) => `${row.agencyCode} ${row.agencyName}` },
            { title: t('Xong/dòng', 'Done/lines'), value: (row) => `${row.fulfilledCount}/${row.lineCount}` },
            { title: t('Gửi lúc', 'Submitted'), value: (row) => row.submittedAt },
            { title: t('Hạn', 'Due'), value: (row) => (row.late ? `${row.dueAt} ⚠` : row.dueAt) },
          ]);
        },
      ),
    );

  requests
    .command('show <request>')
    .description(t('một phiếu và các dòng', 'one request and its lines'))
    .option('--state <state>', t('chỉ các dòng ở trạng thái này', 'only lines in this state'))
    .option('--limit <n>', t('số dòng nhiều nhất', 'lines at most'), wholeNumber, 50)
    .action(
      action(credentialsFile, async (context, id: string, options: { state?: string; limit: number }) => {
        const request = await read(context, id);
        showSummary(context, request);
        if (!context.output.json) await showLines(context, id, options.state, options.limit);
      }),
    );

  requests
    .command('usernames <request>')
    .description(t('xem trước tên tài khoản sẽ cấp', 'preview the usernames that would be given'))
    .option('--limit <n>', t('nhiều nhất', 'at most'), wholeNumber, 500)
    .action(
      action(credentialsFile, async ({ api, output }, id: string, { limit }: { limit: number }) => {
        output.list(await fetchItems(api, pathOf(id, '/usernames'), {}, Username, limit), [
          { title: t('Dòng', 'Line'), value: (row) => row.lineNumber },
          { title: t('Họ và tên', 'Name'), value: (row) => row.name },
          { title: t('Tên tài khoản', 'Username'), value: (row) => row.username },
          { title: t('Địa chỉ', 'Address'), value: (row) => row.address },
        ]);
      }),
    );

  requests
    .command('submit <request>')
    .description(t('gửi duyệt bản nháp hoặc phiếu đã sửa', 'submit a draft or a corrected request'))
    .option('--leave-out-refused', t('bỏ các dòng bị từ chối', 'leave out the refused lines'))
    .action(
      action(credentialsFile, async (context, id: string, { leaveOutRefused }: { leaveOutRefused?: boolean }) => {
        showSummary(context, await submitDraft(context, await read(context, id), leaveOutRefused === true));
      }),
    );

  requests
    .command('approve <request...>')
    .description(t('duyệt một hay nhiều phiếu', 'approve one or several requests'))
    .option('--lines <list>', t('chỉ các dòng này, ví dụ 1,3,5-9', 'only these lines, such as 1,3,5-9'))
    .option(...remark)
    .option('--follow', t('chờ đến khi xong', 'wait until everything stands'))
    .addHelpText(
      'after',
      examples(
        '  congvu requests approve 8d0f… --follow\n  congvu requests approve 8d0f… --lines 1-20,25 --remark "Đợt 1"',
      ),
    )
    .action(
      action(
        credentialsFile,
        async (context, ids: string[], options: { lines?: string; remark?: string; follow?: boolean }) => {
          if (ids.length === 1) await approveOne(context, ids[0] as string, options);
          else await approveMany(context, ids, options);
          if (options.follow) for (const id of ids) await follow(context, id);
        },
      ),
    );

  requests
    .command('return <request>')
    .description(t('trả lại để sửa, kèm lý do', 'return for correction, with the reason'))
    .requiredOption(...remark)
    .action(decision(credentialsFile, 'return'));
  requests
    .command('reject <request>')
    .description(t('từ chối, kèm lý do', 'reject, with the reason'))
    .requiredOption(...remark)
    .action(decision(credentialsFile, 'reject'));
  requests
    .command('cancel <request>')
    .description(t('rút lại phiếu của mình', 'take back your own request'))
    .option(...remark)
    .action(decision(credentialsFile, 'cancel'));

  requests
    .command('follow <request>')
    .description(t('theo dõi đến khi mọi tài khoản đã sẵn sàng', 'follow until every account stands'))
    .action(action(credentialsFile, (context, id: string) => follow(context, id)));
};

const decision = (credentialsFile: string, verb: 'return' | 'reject' | 'cancel') =>
  action(credentialsFile, async (context, id: string, { remark }: { remark?: string }) => {
    showSummary(context, await change(context, await read(context, id), verb, remark ? { remark } : {}));
  });

/** On the version that was read: whoever changed it since is not overruled. */
const change = (
  { api }: Context,
  request: Pick<Summary, 'id' | 'version'>,
  verb: string,
  body: object,
): Promise<Summary> =>
  api.call('directory', pathOf(request.id, `/${verb}`), Summary, {
    method: 'POST',
    body,
    headers: { 'If-Match': `"${request.version}"` },
  });

export const submitDraft = (
  context: Context,
  request: Pick<Summary, 'id' | 'version'>,
  leaveOutRefused: boolean,
): Promise<Summary> => change(context, request, 'submit', leaveOutRefused ? { leaveOutRefused } : {});

async function approveOne(
  context: Context,
  id: string,
  options: { lines?: string; remark?: string; follow?: boolean },
) {
  const body = {
    ...(options.remark ? { remark: options.remark } : {}),
    ...(options.lines ? { lines: readLineList(options.lines) } : {}),
  };
  const request = await change(context, await read(context, id), 'approve', body);
  if (!options.follow) showSummary(context, request);
}

const BulkAnswer = z.looseObject({
  results: z.array(
    z.looseObject({
      id: z.string(),
      approved: z.boolean(),
      code: z.string().optional(),
      detail: z.string().optional(),
    }),
  ),
});

async function approveMany(
  { api, output }: Context,
  ids: readonly string[],
  options: { lines?: string; remark?: string },
) {
  if (options.lines) throw new UsageError(t('--lines chỉ dùng với một phiếu.', '--lines goes with one request only.'));
  const body = { requests: ids.map((id) => ({ id })), ...(options.remark ? { remark: options.remark } : {}) };
  const { results } = await api.call('directory', '/v1/requests/approve', BulkAnswer, { body });
  output.list(results, [
    { title: t('Phiếu', 'Request'), value: (row) => row.id },
    { title: t('Kết quả', 'Result'), value: (row) => (row.approved ? t('đã duyệt', 'approved') : row.detail) },
  ]);
  if (results.some(({ approved }) => !approved)) process.exitCode = exitCodes.conflict;
}

/** "1,3,5-9" as numbers. */
function readLineList(list: string): number[] {
  return list.split(',').flatMap((part) => {
    const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    if (!from || Number(to) < Number(from) || Number(to) - Number(from) > 100_000)
      throw new UsageError(
        t(`"${part}" không phải là dòng hay khoảng dòng.`, `"${part}" is neither a line nor a range.`),
      );
    return Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => Number(from) + index);
  });
}

async function follow(context: Context, id: string): Promise<void> {
  const progress = context.output.progress(t('Tài khoản sẵn sàng', 'Accounts that stand'));
  const request = await watch(
    async () => {
      const now = await read(context, id);
      const { fulfilledCount, failedCount, rejectedCount, refusedCount, lineCount } = now;
      progress.update(fulfilledCount + failedCount + rejectedCount, lineCount - refusedCount);
      return now;
    },
    ({ state }) => state !== 'approved',
  );
  progress.stop();
  showSummary(context, request);
  if (request.failedCount > 0) {
    if (!context.output.json) await showLines(context, id, 'failed', 20);
    process.exitCode = exitCodes.conflict;
  }
}

function showSummary({ output }: Context, request: Summary): void {
  output.record(request, [
    [t('Phiếu', 'Request'), request.id],
    [t('Cơ quan', 'Agency'), `${request.agencyCode} ${request.agencyName}`],
    [t('Trạng thái', 'State'), word(request.state)],
    [t('Người gửi', 'Submitted by'), request.submittedBy?.name],
    [t('Hạn', 'Due'), request.dueAt],
    [t('Số dòng', 'Lines'), request.lineCount],
    [t('Xong', 'Done'), request.fulfilledCount],
    [t('Không làm được', 'Failed'), request.failedCount],
    [t('Không duyệt', 'Rejected'), request.rejectedCount],
    [t('Ý kiến', 'Remark'), request.remark],
  ]);
}

export async function showLines({ api, output }: Context, id: string, state: string | undefined, limit: number) {
  output.list(await fetchItems(api, pathOf(id, '/lines'), { state }, Line, limit), [
    { title: t('Dòng', 'Line'), value: (row) => row.lineNumber },
    { title: t('Trạng thái', 'State'), value: (row) => word(row.state) },
    { title: t('Việc', 'Operation'), value: (row) => word(row.operation) },
    { title: t('Họ và tên', 'Name'), value: (row) => row.fullName },
    { title: t('Địa chỉ', 'Address'), value: (row) => row.account?.address },
    {
      title: t('Nhận xét', 'Remarks'),
      value: (row) =>
        [...row.findings.map(({ cell, detail }) => (cell ? `${cell}: ${detail}` : detail)), row.failure?.detail]
          .filter(Boolean)
          .join(' '),
    },
  ]);
}
