/** Recovery officers, and recoveries of escrowed encryption keys. */
import {
  Recovery,
  RecoveryInput,
  RecoveryOfficer,
  RecoveryOfficerInput,
  RecoveryOfficerProof,
  RecoveryShares,
} from '@congvu/contracts';
import { client, decodeTimeCursor, PageQuery, pageAnswer, pageOf, type Route, route, toPage } from '@congvu/http';
import { z } from 'zod';
import type { EnrolmentDependencies } from '../enrolments/converge-certificates.ts';
import { scopedActorOf } from '../enrolments/routes.ts';
import { listRecoveries, requireRecovery } from './escrow-store.ts';
import { listOfficers, toOfficer } from './officer-store.ts';
import { askRecovery, cancelRecovery, confirmRecovery, giveShares } from './recover-account.ts';
import { approveOfficer, proveOfficer, registerOfficer, retireOfficer } from './register-officer.ts';

const ById = z.object({ id: z.uuid() });

export const escrowRoutes = ({
  database,
  authorities,
}: Pick<EnrolmentDependencies, 'database' | 'authorities'>): Route[] => [
  route({
    method: 'get',
    path: '/v1/recovery-officers',
    summary: 'The recovery officers, present and past',
    permission: ['keys:recover', 'certificates:approve', 'certificates:read'],
    response: z.object({ items: z.array(RecoveryOfficer) }),
    handle: async () => ({ body: { items: (await listOfficers(database)).map(toOfficer) } }),
  }),
  route({
    method: 'post',
    path: '/v1/recovery-officers',
    summary: 'Registers the asking client as a recovery officer; the answer holds a challenge',
    description:
      'Open the challenge with the key of the certificate (openssl cms -decrypt) and send what it holds, in hexadecimal, as proof. Then another client approves.',
    permission: 'keys:recover',
    body: RecoveryOfficerInput,
    maxBodyBytes: 32 * 1024,
    status: 201,
    response: z.object({ officer: RecoveryOfficer, challenge: z.string().describe('PEM of type CMS') }),
    handle: async (context) => {
      const { officer, challenge } = await registerOfficer(database, context.body, scopedActorOf(context));
      return { body: { officer: toOfficer(officer), challenge }, headers: { 'Cache-Control': 'no-store' } };
    },
  }),
  route({
    method: 'post',
    path: '/v1/recovery-officers/{id}/proof',
    summary: 'Proves that what is encrypted to the officer can be opened',
    permission: 'keys:recover',
    params: ById,
    body: RecoveryOfficerProof,
    response: RecoveryOfficer,
    handle: async (context) => ({
      body: toOfficer(await proveOfficer(database, context.params.id, context.body.proof, scopedActorOf(context))),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/recovery-officers/{id}/approve',
    summary: 'Puts an officer on duty, one of two; by somebody else',
    permission: 'certificates:approve',
    params: ById,
    response: RecoveryOfficer,
    handle: async (context) => ({
      body: toOfficer(await approveOfficer(database, context.params.id, scopedActorOf(context))),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/recovery-officers/{id}/retire',
    summary: 'Takes an officer off duty; what was escrowed to the officer stays so',
    permission: 'certificates:approve',
    params: ById,
    response: RecoveryOfficer,
    handle: async (context) => ({
      body: toOfficer(await retireOfficer(database, context.params.id, scopedActorOf(context))),
    }),
  }),
  route({
    method: 'get',
    path: '/v1/recoveries',
    summary: 'Lists recoveries, newest first',
    permission: ['keys:recover', 'audit:read'],
    query: PageQuery,
    response: pageOf(Recovery),
    handle: async (context) => {
      const { limit, cursor } = context.query;
      const rows = await listRecoveries(database, client(context).agencyCode, limit, decodeTimeCursor(cursor));
      const page = toPage(rows, limit, (row) => [row.createdAt, row.id]);
      return pageAnswer(page, '/v1/recoveries', context.query);
    },
  }),
  route({
    method: 'get',
    path: '/v1/recoveries/{id}',
    summary: 'One recovery',
    permission: ['keys:recover', 'audit:read'],
    params: ById,
    response: Recovery,
    handle: async (context) => ({
      body: await requireRecovery(database, context.params.id, client(context).agencyCode),
    }),
  }),
  route({
    method: 'post',
    path: '/v1/recoveries',
    summary: 'Asks for the escrowed encryption keys of an account, with the reason',
    permission: 'keys:recover',
    body: RecoveryInput,
    status: 201,
    response: Recovery,
    handle: async (context) => ({ body: await askRecovery(database, context.body, scopedActorOf(context)) }),
  }),
  route({
    method: 'post',
    path: '/v1/recoveries/{id}/confirm',
    summary: 'The other officer agrees; from then on each may fetch the own shares, for three days',
    permission: 'keys:recover',
    params: ById,
    response: Recovery,
    handle: async (context) => ({ body: await confirmRecovery(database, context.params.id, scopedActorOf(context)) }),
  }),
  route({
    method: 'post',
    path: '/v1/recoveries/{id}/cancel',
    summary: 'Calls a recovery off',
    permission: 'keys:recover',
    params: ById,
    response: Recovery,
    handle: async (context) => ({ body: await cancelRecovery(database, context.params.id, scopedActorOf(context)) }),
  }),
  route({
    method: 'post',
    path: '/v1/recoveries/{id}/shares',
    summary: 'Gives an officer the own share of every key; on record each time',
    description: 'Keep the answer as a file: recover.ts opens it with the officer’s private key, away from here.',
    permission: 'keys:recover',
    params: ById,
    response: RecoveryShares,
    handle: async (context) => ({
      body: await giveShares({ database, authorities }, context.params.id, scopedActorOf(context)),
      headers: { 'Cache-Control': 'no-store' },
    }),
  }),
];
