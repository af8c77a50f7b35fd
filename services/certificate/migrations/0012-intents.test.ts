/** What an earlier version had begun to sign goes on: intents leave the register for their own table, with all that they say. */
import { createTestDatabase, type TestDatabase } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { migrations } from './index.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

it('moves what is unsigned, and lets stand what is signed', async () => {
  const owner = database.as('owner');
  await owner.raw('drop schema certificate cascade; create schema certificate');
  const before = await owner.transaction(async (transaction) => {
    for (const [name, migrate] of Object.entries(migrations)) if (name < '0012') await migrate(transaction);
    await transaction.raw(
      `insert into certificate.authorities (name, kind, subject_key_identifier, certificate) values ('a', 'issuing', 'a', 'a');
       insert into certificate.enrolments (account_id, profile, path, state, subject_public_key_info)
         select gen_random_uuid(), 'p', path, state, path::bytea || state::bytea
         from (values ('csr', 'awaiting_csr'), ('csr', 'issued'), ('csr', 'revoked'), ('server_key', 'awaiting_pickup')) e (path, state);
       insert into certificate.certificates (authority_id, serial_number, enrolment_id, account_id, agency_id, address, profile,
           key_kind, tbs, not_before, not_after, created_at)
         select a.id, e.subject_public_key_info, e.id, account_id, account_id, 'x@y', profile, 'ec-p256',
           path::bytea, now(), now() + interval '1 day', now() - interval '1 hour'
         from certificate.enrolments e, certificate.authorities a;
       update certificate.certificates set state = 'valid', certificate = 'c', fingerprint_sha256 = 'f', issued_at = now()
         where serial_number = 'csrissued'`,
    );
    const all = await transaction('certificate.certificates').orderBy('serial_number');
    await migrations['0012-intents']!(transaction);
    return all;
  });

  const begun = before.filter(({ state }) => state === 'signing');
  expect(await owner('certificate.intents').orderBy('serial_number')).toMatchObject(
    begun.map(({ id, enrolment_id, serial_number, tbs, not_after, created_at }) => {
      return { id, enrolment_id, serial_number, tbs, not_after, created_at };
    }),
  );
  expect(begun.map(({ serial_number }) => String(serial_number))).toEqual([
    'csrawaiting_csr',
    'csrrevoked',
    'server_keyawaiting_pickup',
  ]);
  expect(await owner('certificate.certificates')).toMatchObject(
    before.filter(({ state }) => state === 'valid').map(({ id, created_at }) => ({ id, created_at })),
  );
  expect(await owner('certificate.enrolments').orderBy('subject_public_key_info').pluck('state')).toEqual([
    'issued',
    'issued',
    'revoked',
    'awaiting_pickup',
  ]);
});
