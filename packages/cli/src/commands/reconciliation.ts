/** `congvu reconcile …`: does LDAP say what the record says? */
import { z } from 'zod';
import { type AddCommands, action, type Context, examples, fetchItems, group, watch, wholeNumber } from '../context.ts';
import { exitCodes } from '../failure.ts';
import { t, word } from '../language.ts';

const Run = z.looseObject({
  id: z.string(),
  state: z.string(),
  mode: z.string(),
  removeExtra: z.boolean(),
  agencyCode: z.string(),
  progress: z.object({ done: z.number(), total: z.number() }),
  findings: z.object({
    missing: z.number(),
    extra: z.number(),
    changed: z.number(),
    repaired: z.number(),
    failed: z.number(),
  }),
  reason: z.object({ code: z.string(), detail: z.string() }).nullable(),
});
type Run = z.infer<typeof Run>;
const Finding = z.looseObject({
  kind: z.string(),
  dn: z.string().nullish(),
  attribute: z.string().nullish(),
  lastModifiedBy: z.string().nullish(),
  lastModifiedAt: z.string().nullish(),
  state: z.string().nullish(),
});

const path = '/v1/reconciliations';
const pathOf = (id: string, rest = ''): string => `${path}/${encodeURIComponent(id)}${rest}`;

export const reconciliationCommands: AddCommands = (program, credentialsFile) => {
  const reconcile = group(program, 'reconcile', t('đối chiếu hồ sơ với LDAP', 'compare the record with LDAP'));

  reconcile
    .command('run')
    .description(t('đối chiếu; --repair sửa những chỗ lệch', 'compare; --repair mends what differs'))
    .option('--agency <code>', t('chỉ cơ quan này và cấp dưới', 'only this agency and below'))
    .option(
      '--repair',
      t('sửa (chỗ lệch lớn phải chờ người thứ hai)', 'repair (a large one waits for a second person)'),
    )
    .option(
      '--remove-extra',
      t('khi sửa, xóa cả mục thừa', 'when repairing, also remove entries that nothing stands for'),
    )
    .addHelpText('after', examples('  congvu reconcile run\n  congvu reconcile run --agency H41.32 --repair'))
    .action(
      action(
        credentialsFile,
        async (context, options: { agency?: string; repair?: boolean; removeExtra?: boolean }) => {
          const body = {
            mode: options.repair ? 'repair' : 'report',
            ...(options.agency ? { agencyCode: options.agency } : {}),
            ...(options.removeExtra ? { removeExtra: true } : {}),
          };
          const { id } = await context.api.call('directory', path, Run, { method: 'POST', body });
          await follow(context, id);
        },
      ),
    );

  reconcile
    .command('list')
    .description(t('các lần đối chiếu', 'runs so far'))
    .option('--limit <n>', t('nhiều nhất', 'at most'), wholeNumber, 20)
    .action(
      action(credentialsFile, async ({ api, output }, { limit }: { limit: number }) => {
        output.list(await fetchItems(api, path, {}, Run, limit), [
          { title: t('Lần', 'Run'), value: (run) => run.id },
          { title: t('Kiểu', 'Mode'), value: (run) => word(run.mode) },
          { title: t('Trạng thái', 'State'), value: (run) => word(run.state) },
          { title: t('Thiếu/thừa/lệch', 'Missing/extra/changed'), value: counts },
        ]);
      }),
    );

  reconcile
    .command('show <run>')
    .description(t('một lần đối chiếu', 'one run'))
    .action(
      action(credentialsFile, async (context, id: string) =>
        show(context, await context.api.call('directory', pathOf(id), Run)),
      ),
    );

  reconcile
    .command('findings <run>')
    .description(t('từng chỗ lệch: cái gì, ai sửa, lúc nào', 'what differs, who changed it and when'))
    .option('--limit <n>', t('nhiều nhất', 'at most'), wholeNumber, 100)
    .action(
      action(credentialsFile, async ({ api, output }, id: string, { limit }: { limit: number }) => {
        output.list(await fetchItems(api, pathOf(id, '/findings'), {}, Finding, limit), [
          { title: t('Lệch', 'Kind'), value: (row) => word(row.kind) },
          { title: 'DN', value: (row) => row.dn },
          { title: t('Thuộc tính', 'Attribute'), value: (row) => row.attribute },
          { title: t('Người sửa', 'Changed by'), value: (row) => row.lastModifiedBy },
          { title: t('Lúc', 'At'), value: (row) => row.lastModifiedAt },
          { title: t('Trạng thái', 'State'), value: (row) => word(row.state) },
        ]);
      }),
    );

  reconcile
    .command('approve <run>')
    .description(t('người thứ hai đồng ý cho sửa', 'as a second person, let a large repair go on'))
    .action(
      action(credentialsFile, async (context, id: string) => {
        await context.api.call('directory', pathOf(id, '/approve'), Run, { method: 'POST', body: {} });
        await follow(context, id);
      }),
    );

  reconcile
    .command('cancel <run>')
    .description(t('hủy', 'cancel'))
    .action(
      action(credentialsFile, async (context, id: string) =>
        show(context, await context.api.call('directory', pathOf(id, '/cancel'), Run, { method: 'POST', body: {} })),
      ),
    );
};

const unfinished = new Set(['queued', 'comparing', 'repairing']);

async function follow(context: Context, id: string): Promise<void> {
  const progress = context.output.progress(t('Đã đối chiếu', 'Compared'));
  const run = await watch(
    async () => {
      const now = await context.api.call('directory', pathOf(id), Run);
      progress.update(now.progress.done, now.progress.total);
      return now;
    },
    ({ state }) => !unfinished.has(state),
  );
  progress.stop();
  show(context, run);
  if (run.state === 'failed') process.exitCode = exitCodes.unavailable;
  else if (run.state === 'awaiting_approval') process.exitCode = exitCodes.conflict;
  else if (run.mode === 'report' && drift(run) > 0) process.exitCode = exitCodes.invalid;
  else if (run.findings.failed > 0) process.exitCode = exitCodes.failure;
  else if (run.findings.extra > 0 && !run.removeExtra) {
    process.exitCode = exitCodes.invalid;
    context.output.note(
      t(
        'Còn mục thừa: xem findings; xóa bằng --remove-extra.',
        'Extra entries were left: see findings; --remove-extra removes them.',
      ),
    );
  }
}

const counts = ({ findings }: Run): string => `${findings.missing}/${findings.extra}/${findings.changed}`;
const drift = ({ findings }: Run): number => findings.missing + findings.extra + findings.changed;

const show = ({ output }: Context, run: Run): void =>
  output.record(run, [
    [t('Lần', 'Run'), run.id],
    [t('Kiểu', 'Mode'), word(run.mode)],
    [t('Trạng thái', 'State'), word(run.state)],
    [t('Cơ quan', 'Agency'), run.agencyCode],
    [t('Thiếu/thừa/lệch', 'Missing/extra/changed'), counts(run)],
    [t('Đã sửa', 'Repaired'), run.findings.repaired],
    [t('Không sửa được', 'Not repaired'), run.findings.failed],
    [t('Lý do', 'Reason'), run.reason?.detail],
  ]);
