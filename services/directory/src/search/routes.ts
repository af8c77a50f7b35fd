/** The list of accounts. */
import { Account, AgencyCodeInput } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeNameCursor,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
} from '@congvu/http';
import { z } from 'zod';
import { findAccountIdByAddress } from '../accounts/account-store.ts';
import { parseCode } from '../agencies/agency-code-input.ts';
import { newestAccounts, searchAccounts } from './search-accounts.ts';
import { keepFrequencies } from './word-frequencies.ts';

const Query = PageQuery.extend({
  q: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe(
      'Words, with or without marks, all of which must be found: in name, position or agency (name, code, short name) a word of one or two letters at the beginning of a word, a longer one anywhere; an address or username from its beginning; or an account id',
    ),
  agencyCode: AgencyCodeInput.optional().describe('This agency and everything below it'),
  kind: Account.shape.kind.optional(),
  state: Account.shape.state.optional(),
  title: z.string().min(1).max(200).optional().describe('Words of the position'),
  address: z.string().max(254).optional().describe('The whole address; q and title are then not looked at'),
  sort: z
    .enum(['name'])
    .optional()
    .describe(
      'By given name, surname, middle names, as Vietnamese lists are; every search by q or title is. Else newest first',
    ),
  cursor: z.string().max(2_000).optional(),
});

const csvColumns = Object.keys(Account.shape) as (keyof Account)[];

export function searchRoutes(database: Database): Route[] {
  const frequencies = keepFrequencies(database);
  return [
    route({
      method: 'get',
      path: '/v1/accounts',
      summary: 'Lists or searches accounts at and below your agency',
      permission: 'accounts:read',
      query: Query,
      response: pageOf(Account),
      produces: listTypes,
      handle: async (context) => {
        const { limit: _, cursor: __, agencyCode, address, sort, q, ...rest } = context.query;
        const scope = client(context).agencyCode;
        const query = { ...rest, q, scope, agencyCode: agencyCode && parseCode(agencyCode, 'query/agencyCode') };
        // An address and an id name one account, and no search is needed.
        const typed = z.uuid().safeParse(q?.trim()).data;
        const id = address === undefined ? typed : await findAccountIdByAddress(database, address);
        const byName =
          address === undefined && id === undefined && (sort === 'name' || q !== undefined || rest.title !== undefined);
        return listAnswer(context, '/v1/accounts', csvColumns, async (size, cursor) => {
          if (address !== undefined && id === undefined) return { items: [], nextCursor: null };
          return byName
            ? searchAccounts(database, await frequencies(), query, size, decodeNameCursor(cursor))
            : newestAccounts(database, { ...query, id }, size, decodeTimeCursor(cursor));
        });
      },
    }),
  ];
}
