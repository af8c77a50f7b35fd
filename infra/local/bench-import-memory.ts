/**
 * `import-memory`: the most memory that the directory service ever holds (VmHWM of its process, which counts from its start) while
 * a sheet of so many people becomes a draft and comes back with remarks, CSV and workbook each in a service of its own. The floor is
 * the 300 MB that it may take; beside it stands the same at a fifth of the people, because it must not grow with the file.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connectApi, roles, SheetDraft } from '@congvu/contracts';
import { openDatabase } from '@congvu/database';
import { setUpClient } from '@congvu/directory/set-up-client';
import { csvMediaType, spreadsheetMediaType } from '@congvu/spreadsheet';
import type { BenchOptions, Figure } from './bench.ts';
import { importAgencies } from './province.ts';
import { samplePeopleCsv, samplePeopleWorkbook } from './sample-sheets.ts';
import { connectClients } from './stack.ts';

const mostMegabytes = 300;

export async function measureImportMemory(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  await importAgencies(connectClients(stack.description));
  const fifth = Math.max(1, Math.round(size / 5));
  const small = await peakOf(options, fifth);
  const large = await peakOf(options, size);
  say(`import-memory: ${small.toFixed(0)} MB at ${fifth} people, ${large.toFixed(0)} MB at ${size}`);
  const floor = `${mostMegabytes} MB; at ${fifth} people ${small.toFixed(0)} MB`;
  return { value: large, unit: 'MB', floor, floorValue: mostMegabytes, ratio: mostMegabytes / large };
}

/** The higher of the two kinds of sheet. */
async function peakOf(options: BenchOptions, people: number): Promise<number> {
  const csv = await peakWith(options, people, await samplePeopleCsv(people), csvMediaType);
  return Math.max(csv, await peakWith(options, people, await samplePeopleWorkbook(people), spreadsheetMediaType));
}

async function peakWith({ stack, say }: BenchOptions, people: number, file: Buffer, contentType: string) {
  const service = stack.services.processes.directory;
  await service.restart();
  const api = await provinceClient(stack);
  const began = performance.now();
  const draft = await api.call('directory', '/v1/sheets?agencyCode=H41', SheetDraft, {
    body: file,
    contentType,
    signal: AbortSignal.timeout(600_000),
  });
  const { accepted, corrected, refused } = draft.sheet.lines;
  if (draft.sheet.rows.lines !== people || accepted + corrected !== people)
    throw new Error(`of ${people} people ${refused} were refused`);
  const readIn = performance.now() - began;
  const back = await api.fetch('directory', `/v1/requests/${draft.id}/sheet`, { signal: AbortSignal.timeout(600_000) });
  const remarked = (await back.arrayBuffer()).byteLength;
  const peak = await residentPeak(service.pid);
  say(
    `import-memory: ${people} people as ${contentType === csvMediaType ? 'CSV' : 'workbook'} of ${megabytes(file.length)} MB: peak ${peak.toFixed(0)} MB, ` +
      `read in ${(readIn / 1_000).toFixed(1)} s, back with remarks (${megabytes(remarked)} MB) after ${((performance.now() - began) / 1_000).toFixed(1)} s`,
  );
  return peak;
}

const megabytes = (octets: number): string => (octets / 1_048_576).toFixed(1);

async function residentPeak(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  if (!kibibytes) throw new Error('the directory service has no process to measure');
  return Number(kibibytes) / 1_024;
}

async function provinceClient({ engines, description }: BenchOptions['stack']) {
  const database = openDatabase({ url: engines.postgres.url('congvu_directory'), name: 'bench', poolSize: 1 });
  try {
    const clientSecret = `${randomUUID()}${randomUUID()}`;
    const permissions = roles.requester;
    const name = `bench ${randomUUID()}`;
    const clientId = await setUpClient(database, { name, agencyCode: 'H41', permissions, secret: clientSecret });
    return connectApi(description.services, { clientId, clientSecret });
  } finally {
    await database.destroy();
  }
}
