/** `congvu agencies …`: import, list, tree, one, history. */
import { z } from 'zod';
import { type AddCommands, action, examples, fetchItems, group, toQuery, wholeNumber } from '../context.ts';
import { exitCodes } from '../failure.ts';
import { readFileWithType } from '../files.ts';
import { t, word } from '../language.ts';
import { print } from '../output.ts';

const Agency = z.looseObject({ code: z.string(), name: z.string(), level: z.string(), status: z.string().optional() });
const Report = z.looseObject({
  added: z.number(),
  changed: z.number(),
  unchanged: z.number(),
  refused: z.array(z.looseObject({ cell: z.string(), code: z.string(), detail: z.string() })).default([]),
});
interface Node {
  code: string;
  name: string;
  children?: Node[] | undefined;
}
const Node: z.ZodType<Node> = z.looseObject({
  code: z.string(),
  name: z.string(),
  get children() {
    return z.array(Node).optional();
  },
});

export const agencyCommands: AddCommands = (program, credentialsFile) => {
  const agencies = group(program, 'agencies', t('cơ quan, đơn vị: nhập, xem, tìm', 'agencies: import, show, find'));

  agencies
    .command('import <file>')
    .description(
      t(
        'nhập từ CSV hoặc XLSX; nhập lại không thay đổi gì thêm',
        'import from CSV or XLSX; repeating it changes nothing',
      ),
    )
    .option('--dry-run', t('chỉ kiểm tra, không ghi', 'only check, write nothing'))
    .option('--skip-refused', t('nhập các dòng đúng, bỏ qua dòng sai', 'import the sound rows, leave out the others'))
    .addHelpText(
      'after',
      examples('  congvu agencies import agencies.csv --dry-run\n  congvu agencies import don-vi.xlsx --skip-refused'),
    )
    .action(
      action(
        credentialsFile,
        async ({ api, output }, file: string, options: { dryRun?: boolean; skipRefused?: boolean }) => {
          const { body, contentType } = readFileWithType(file);
          const query = toQuery({
            dryRun: options.dryRun ? 'true' : undefined,
            skipRefused: options.skipRefused ? 'true' : undefined,
          });
          const path = `/v1/agencies/import${query.size > 0 ? `?${query}` : ''}`;
          const report = await api.call('directory', path, Report, { method: 'POST', body, contentType });
          output.record(report, [
            [t('Thêm mới', 'Added'), report.added],
            [t('Thay đổi', 'Changed'), report.changed],
            [t('Giữ nguyên', 'Unchanged'), report.unchanged],
            [t('Bị từ chối', 'Refused'), report.refused.length],
          ]);
          for (const { cell, detail } of report.refused) output.note(`  ${cell}: ${detail}`);
          if (report.refused.length > 0) process.exitCode = exitCodes.invalid;
        },
      ),
    );

  agencies
    .command('list')
    .description(t('danh sách cơ quan', 'list agencies'))
    .option('-q, --search <text>', t('một phần của tên, mã hay tên ngắn', 'part of name, code or short name'))
    .option('--under <code>', t('cơ quan này và cấp dưới', 'this agency and all below it'))
    .option('--level <level>', 'province | department | district | commune | school | public_unit')
    .option('--limit <n>', t('nhiều nhất', 'at most'), wholeNumber, 50)
    .action(
      action(
        credentialsFile,
        async ({ api, output }, options: { search?: string; under?: string; level?: string; limit: number }) => {
          const query = { q: options.search, under: options.under, level: options.level };
          output.list(await fetchItems(api, '/v1/agencies', query, Agency, options.limit), [
            { title: t('Mã', 'Code'), value: (row) => row.code },
            { title: t('Tên', 'Name'), value: (row) => row.name },
            { title: t('Cấp', 'Level'), value: (row) => word(row.level) },
            { title: t('Trạng thái', 'Status'), value: (row) => word(row.status) },
          ]);
        },
      ),
    );

  agencies
    .command('show <code>')
    .description(t('một cơ quan', 'one agency'))
    .option('--at <date>', t('như vào ngày này (YYYY-MM-DD)', 'as it was on this date (YYYY-MM-DD)'))
    .action(
      action(credentialsFile, async ({ api, output }, code: string, { at }: { at?: string }) => {
        const query = at ? `?at=${encodeURIComponent(at)}` : '';
        const agency = await api.call('directory', `/v1/agencies/${encodeURIComponent(code)}${query}`, Agency);
        output.record(agency, Object.entries(agency));
      }),
    );

  agencies
    .command('tree [code]')
    .description(t('cây đơn vị', 'the tree of agencies'))
    .option('--depth <n>', t('số cấp', 'levels'), wholeNumber, 2)
    .action(
      action(credentialsFile, async ({ api, output }, code: string | undefined, { depth }: { depth: number }) => {
        const root = code ?? (await fetchItems(api, '/v1/agencies', {}, Agency, 1))[0]?.code ?? '';
        const tree = await api.call('directory', `/v1/agencies/${encodeURIComponent(root)}/tree?depth=${depth}`, Node);
        if (output.json) return output.record(tree, []);
        const draw = (node: Node, indent: string): void => {
          print(`${indent}${node.code}  ${node.name}`);
          for (const child of node.children ?? []) draw(child, `${indent}  `);
        };
        draw(tree, '');
      }),
    );
};
