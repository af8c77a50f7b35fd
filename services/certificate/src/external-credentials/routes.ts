/** Credentials of the Government's CA: requests, their state, the certificates that came back. */
import {
  ExternalCertificateInput,
  ExternalCredential,
  ExternalCredentialInput,
  ExternalCredentialReturn,
  ExternalCredentialSending,
  ExternalForm,
  ExternalRevocation,
} from '@congvu/contracts';
import {
  client,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { toPem } from '../authority/certificate.ts';
import { scopedActorOf } from '../enrolments/routes.ts';
import {
  cancelExternal,
  changeExternal,
  draftExternal,
  type ExternalActor,
  returnExternal,
  sendExternal,
} from './external-request.ts';
import { listExternal, requireExternal } from './external-store.ts';
import { type RegisterDependencies, registerExternal, revokeExternal } from './register-certificate.ts';

const ById = z.object({ id: z.uuid() });
const columns = Object.keys(ExternalCredential.shape) as (keyof ExternalCredential)[];
const pemType = 'application/x-pem-file';

export function externalCredentialRoutes(dependencies: RegisterDependencies): Route[] {
  const { database } = dependencies;
  const answer = async (context: RouteContext, id: string) => {
    const { wire } = await requireExternal(database, id, client(context).agencyCode);
    return { headers: versionTag(wire), body: wire };
  };
  /** `POST …/{id}/<step>`. */
  const step = <B extends z.ZodType>(
    name: string,
    summary: string,
    body: B,
    act: (id: string, body: z.infer<B>, actor: ExternalActor, version: number | undefined) => Promise<void>,
  ): Route =>
    route({
      method: 'post',
      path: `/v1/external-credentials/{id}/${name}`,
      summary,
      permission: 'external-credentials:write',
      params: ById,
      body,
      response: ExternalCredential,
      handle: async (context) => {
        const { id } = context.params;
        await act(id, context.body, scopedActorOf(context), context.ifMatchVersion);
        return answer(context, id);
      },
    });

  return [
    route({
      method: 'get',
      path: '/v1/external-credentials',
      summary: 'Lists requests to the Government’s CA and what came of them, newest first',
      permission: 'certificates:read',
      query: PageQuery.extend({
        state: ExternalCredential.shape.state.optional(),
        kind: ExternalCredential.shape.kind.optional(),
        accountId: z.uuid().optional(),
      }),
      response: pageOf(ExternalCredential),
      produces: listTypes,
      handle: async (context) => {
        const { limit: _, cursor: __, ...filters } = context.query;
        const filter = { scope: client(context).agencyCode, ...filters };
        const fetch = async (size: number, from: string | undefined) => {
          const rows = await listExternal(database, filter, size + 1, decodeTimeCursor(from));
          return toPage(rows, size, (row) => [row.createdAt, row.id]);
        };
        return listAnswer(context, '/v1/external-credentials', columns, fetch);
      },
    }),
    route({
      method: 'post',
      path: '/v1/external-credentials',
      summary: 'Draws up a request to the Government’s CA, with the fields of its form',
      description:
        'Individual: for the account of a person or a position. Organisation and device: for the account of an agency. What the account says already may be left out.',
      permission: 'external-credentials:write',
      body: ExternalCredentialInput,
      idempotent: true,
      status: 201,
      response: ExternalCredential,
      handle: async (context) => {
        const id = await draftExternal(dependencies, context.body, scopedActorOf(context), context.idempotencyKey);
        const { headers, body } = await answer(context, id);
        return { headers: { ...headers, Location: `/v1/external-credentials/${id}` }, body };
      },
    }),
    route({
      method: 'get',
      path: '/v1/external-credentials/{id}',
      summary: 'One request to the Government’s CA; its certificate as PEM by Accept: application/x-pem-file',
      permission: 'certificates:read',
      params: ById,
      response: ExternalCredential,
      produces: ['application/json', pemType],
      handle: async (context) => {
        const { wire, der } = await requireExternal(database, context.params.id, client(context).agencyCode);
        if (der && context.accepts(pemType))
          return { headers: { 'Content-Type': pemType }, body: Buffer.from(toPem('CERTIFICATE', der)) };
        return { headers: versionTag(wire), body: wire };
      },
    }),
    route({
      method: 'put',
      path: '/v1/external-credentials/{id}',
      summary: 'Fills the form in anew, of a request that was not sent yet or came back',
      permission: 'external-credentials:write',
      params: ById,
      body: z.strictObject({ form: ExternalForm }),
      response: ExternalCredential,
      handle: async (context) => {
        const { id } = context.params;
        await changeExternal(dependencies, id, context.body.form, scopedActorOf(context), context.ifMatchVersion);
        return answer(context, id);
      },
    }),
    step('send', 'The request was sent to the Government’s CA, with a letter', ExternalCredentialSending, (...all) =>
      sendExternal(dependencies, ...all),
    ),
    step('return', 'It came back with remarks', ExternalCredentialReturn, (...all) =>
      returnExternal(dependencies, ...all),
    ),
    step('cancel', 'The request is called off', z.strictObject({}), (id, _, actor, version) =>
      cancelExternal(dependencies, id, actor, version),
    ),
    step(
      'certificate',
      'Registers the certificate that came back, once it is proved to be the account’s',
      ExternalCertificateInput,
      (id, { certificate }, actor, version) => registerExternal(dependencies, id, certificate, actor, version),
    ),
    step('revoke', 'The Government’s CA revoked the certificate', ExternalRevocation, (...all) =>
      revokeExternal(dependencies, ...all),
    ),
  ];
}
