import assert from 'node:assert/strict';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { openApiDocument } from './openapi.ts';
import { route } from './route.ts';
import { openApiFaults } from './testing.ts';

const document = openApiDocument(
  { name: 'x', title: 'X', description: 'Of X', version: '1.0.0', tokenUrl: 'https://d.test/oauth/token' },
  [
    route({
      method: 'post',
      path: '/v1/things/{id}/close',
      summary: 'Closes',
      permission: ['holder', 'things:write'],
      idempotent: true,
      params: z.object({ id: z.uuid() }),
      query: z.strictObject({ limit: z.coerce.number().int().default(5), word: z.string() }),
      body: z.strictObject({ name: z.string().describe('The name'), kind: z.enum(['a', 'b']).default('a') }),
      status: 201,
      response: z.object({ name: z.string() }),
      handle: async () => ({}),
    }),
    route({
      method: 'get',
      path: '/v1/things/{id}/close',
      summary: 'Reads',
      permission: 'public',
      params: z.object({ id: z.uuid() }),
      produces: ['application/pkix-crl'],
      handle: async () => ({}),
    }),
  ],
) as unknown as {
  paths: Record<string, Record<string, Operation>>;
  components: { securitySchemes: { oauth2: { flows: { clientCredentials: object } } } };
};
interface Operation {
  operationId: string;
  security: object[];
  parameters: object[];
  requestBody: { content: { 'application/json': { schema: object } } };
  responses: { 200: { content: object } };
}
const path = document.paths['/v1/things/{id}/close'];
const get = path?.get;
const post = path?.post;
assert(get && post);

test('methods of one path stand side by side, each with an id of its own', () => {
  expect(path).toEqual({ post, get });
  expect(post.operationId).toBe('postV1ThingsIdClose');
  expect(get.operationId).toBe('getV1ThingsIdClose');
});

test('security, scopes and what may go wrong follow from the route', () => {
  expect(post.security).toEqual([{ holder: [] }, { oauth2: ['things:write'] }]);
  expect(get.security).toEqual([]);
  expect(document.components.securitySchemes.oauth2.flows.clientCredentials).toEqual({
    tokenUrl: 'https://d.test/oauth/token',
    scopes: { 'things:write': 'The permission things:write' },
  });
  expect(Object.keys(post.responses)).toEqual(['201', '400', '401', '403', '404', '409', '413', '422']);
  expect(Object.keys(get.responses)).toEqual(['200', '404', '422']);
});

test('input is described as it is sent, output as it is answered', () => {
  expect(post.requestBody.content['application/json'].schema).toMatchObject({
    required: ['name'],
    additionalProperties: false,
    properties: { name: { description: 'The name' }, kind: { default: 'a' } },
  });
  expect(post.parameters).toMatchObject([
    { name: 'id', in: 'path', required: true, schema: { format: 'uuid' } },
    { name: 'limit', in: 'query', required: false },
    { name: 'word', in: 'query', required: true },
    { name: 'Idempotency-Key', in: 'header', required: false },
  ]);
  expect(Object.keys(get.responses['200'].content)).toEqual(['application/pkix-crl']);
});

test('the document is sound, and one that is not is found out', () => {
  expect(openApiFaults(document as never)).toEqual([]);
  const broken = structuredClone(document) as never as { paths: object; tags: object[] };
  broken.tags = [];
  Object.assign(broken.paths, { '/x/{a}': { get: { operationId: 'getV1ThingsIdClose', responses: {} } } });
  expect(openApiFaults(broken as never).length).toBeGreaterThan(5);
});
