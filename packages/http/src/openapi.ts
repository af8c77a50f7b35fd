/** The OpenAPI 3.1 document of a service, made from its routes (zod's JSON Schema is the 2020-12 dialect that 3.1 uses). */
import { z } from 'zod';
import { Problem } from './problem.ts';
import { isBodyOptional, type Route } from './route.ts';

interface ServiceDescription {
  name: string;
  title: string;
  description: string;
  version: string;
  /** Where tokens come from; absolute for services other than the directory. */
  tokenUrl: string;
}

type JsonSchema = Record<string, unknown>;

const inputSchema = (schema: z.ZodType): JsonSchema =>
  withoutDialect(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
const outputSchema = (schema: z.ZodType): JsonSchema =>
  withoutDialect(z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' }));
const withoutDialect = ({ $schema: _, ...rest }: JsonSchema): JsonSchema => rest;

export function openApiDocument(service: ServiceDescription, routes: readonly Route[]): JsonSchema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const one of routes) {
    const path = paths[one.path] ?? {};
    path[one.method] = operation(one);
    paths[one.path] = path;
  }
  return {
    openapi: '3.1.0',
    info: {
      title: service.title,
      description: service.description,
      version: service.version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: tagsOf(routes).map((name) => ({ name, description: `Operations on ${name}` })),
    paths,
    components: {
      schemas: { Problem: outputSchema(Problem) },
      responses: {
        Problem: {
          description: 'A problem document (RFC 9457)',
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
      securitySchemes: {
        oauth2: {
          type: 'oauth2',
          flows: { clientCredentials: { tokenUrl: service.tokenUrl, scopes: scopesOf(routes) } },
        },
        holder: { type: 'http', scheme: 'bearer', description: "A person's own token, from activation or log-in" },
      },
    },
  };
}

const tagOf = (one: Route): string => one.path.split('/').find((part) => part && !/^v\d+$/.test(part)) ?? 'service';
const tagsOf = (routes: readonly Route[]): string[] => [...new Set(routes.map(tagOf))].sort();
const scopesOf = (routes: readonly Route[]): Record<string, string> =>
  Object.fromEntries(
    [...new Set(routes.flatMap((one) => [one.permission].flat()))]
      .filter((permission) => permission !== 'public' && permission !== 'holder')
      .sort()
      .map((permission) => [permission, `The permission ${permission}`]),
  );

function operation(one: Route): JsonSchema {
  const { body } = one;
  const permissions = [one.permission].flat();
  const problems = [
    ...(permissions.includes('public') ? [] : ['401', '403']),
    ...(one.path.includes('{') ? ['404'] : []),
    ...(one.body || one.query || one.params ? ['422'] : []),
    ...(one.body ? ['400', '413'] : []),
    ...(one.method === 'post' ? ['409'] : []),
  ].sort();
  const types = one.produces ?? (one.response ? ['application/json'] : []);
  const content = Object.fromEntries(
    types.map((type) => [
      type,
      { schema: type === 'application/json' && one.response ? outputSchema(one.response) : { type: 'string' } },
    ]),
  );
  return {
    operationId: `${one.method}${one.path.replaceAll(/[^\w]+(\w)?/g, (_, letter?: string) => letter?.toUpperCase() ?? '')}`,
    summary: one.summary,
    description: one.description ?? `${one.summary}.`,
    tags: [tagOf(one)],
    security: permissions.includes('public')
      ? []
      : permissions.map((permission) => (permission === 'holder' ? { holder: [] } : { oauth2: [permission] })),
    parameters: [
      ...parameters(one.params, 'path'),
      ...parameters(one.query, 'query'),
      ...(one.idempotent
        ? [
            {
              name: 'Idempotency-Key',
              in: 'header',
              required: false,
              description: 'The same key and body give the same answer.',
              schema: { type: 'string', maxLength: 128 },
            },
          ]
        : []),
    ],
    ...(body
      ? {
          requestBody: {
            required: !isBodyOptional(one),
            content: Object.fromEntries(
              [one.consumes ?? 'application/json'].flat().map((type) => [type, { schema: inputSchema(body) }]),
            ),
          },
        }
      : {}),
    responses: {
      [String(one.status ?? 200)]: { description: 'Done', ...(types.length > 0 ? { content } : {}) },
      ...Object.fromEntries(problems.map((status) => [status, { $ref: '#/components/responses/Problem' }])),
    },
  };
}

function parameters(schema: z.ZodType | undefined, place: 'path' | 'query'): JsonSchema[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = inputSchema(schema) as {
    properties?: Record<string, JsonSchema>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(property.description ? { description: property.description } : {}),
    schema: property,
  }));
}
