/** Sheets: a draft made of one, its correction, and the sheet with remarks. */
import { CorrectedSheetQuery, maxSheetBytes, SheetDraft, SheetQuery } from '@congvu/contracts';
import { FileBody, type Route, route, spreadsheetType, versionTag } from '@congvu/http';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { scopedActorOf } from '../audit/audit-event.ts';
import { correctSheet, draftFromSheet, type SheetDependencies } from './draft-from-sheet.ts';
import { limitReading } from './limit-reading.ts';
import { remarkedSheet } from './remarked-sheet.ts';

const ById = z.object({ id: z.uuid() });
const consumes = ['text/csv', spreadsheetType] as const;

/** Of a process. */
const readingLimited = limitReading(2);

export const sheetRoutes = (dependencies: SheetDependencies): Route[] => [
  route({
    method: 'post',
    path: '/v1/sheets',
    summary: 'Makes a draft request of a sheet of people',
    description:
      'The body is the file, .xlsx or CSV (UTF-8). Every line is accepted, accepted with a stated correction, or refused with its cell, reason and what to do. The same file sent again while its draft is open makes no second one.',
    permission: 'requests:submit',
    idempotent: true,
    query: SheetQuery,
    consumes,
    maxBodyBytes: maxSheetBytes,
    body: FileBody,
    status: 201,
    response: SheetDraft,
    handle: async (context) => {
      const query = { ...context.query, agencyCode: parseCode(context.query.agencyCode, 'query/agencyCode') };
      const { created, draft } = await readingLimited(() =>
        draftFromSheet(
          dependencies,
          { file: context.body, mediaType: context.contentType as string },
          query,
          scopedActorOf(context),
          context.idempotencyKey,
        ),
      );
      const headers = { Location: `/v1/requests/${draft.id}`, ...versionTag(draft) };
      return { status: created ? 201 : 200, headers, body: draft };
    },
  }),
  route({
    method: 'put',
    path: '/v1/requests/{id}/sheet',
    summary: 'Sends the corrected sheet of a draft or returned request',
    description: 'Its lines take the place of those that the request had. A column "Kết quả kiểm tra" is passed over.',
    permission: 'requests:submit',
    params: ById,
    query: CorrectedSheetQuery,
    consumes,
    maxBodyBytes: maxSheetBytes,
    body: FileBody,
    response: SheetDraft,
    handle: async (context) => {
      const draft = await readingLimited(() =>
        correctSheet(
          dependencies,
          { file: context.body, mediaType: context.contentType as string },
          context.params.id,
          context.query,
          scopedActorOf(context),
          context.ifMatchVersion,
        ),
      );
      return { headers: versionTag(draft), body: draft };
    },
  }),
  route({
    method: 'get',
    path: '/v1/requests/{id}/sheet',
    summary: 'The sheet as it was sent, with a column of remarks',
    description: 'For the client that sent it, until its request is decided. The remarks are in Vietnamese.',
    permission: 'requests:submit',
    params: ById,
    produces: consumes,
    handle: async (context) => {
      const { fileName, mediaType, content } = await remarkedSheet(
        dependencies,
        context.params.id,
        scopedActorOf(context),
      );
      return {
        headers: {
          'Content-Type': mediaType === 'text/csv' ? 'text/csv; charset=utf-8' : mediaType,
          'Content-Disposition': `attachment; filename*=UTF-8''${encodeFileName(fileName)}`,
          'Cache-Control': 'no-store',
        },
        body: content,
      };
    },
  }),
];

/** RFC 8187 section 3.2.1: what encodeURIComponent leaves and an extended value must not have. */
const encodeFileName = (name: string): string =>
  encodeURIComponent(name).replace(/['()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
