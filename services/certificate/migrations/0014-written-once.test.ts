/** What an earlier version left is kept: every key stays enrolled once, and what it had begun to sign can be stored, as the service's own doing. */
import { createTestDatabase, type TestDatabase } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { migrations } from './index.ts';

const account = '5c3c5a52-5a36-4b9a-8a0c-0d9b1d3f6c11';
let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

it('keys that are enrolled stay so, and an account keeps one open enrolment', async () => {
  const owner = database.as('owner');
  await owner.raw('drop schema certificate cascade; create schema certificate');
  await owner.transaction(async (transaction) => {
    for (const [name, migrate] of Object.entries(migrations)) if (name < '0014') await migrate(transaction);
    await transaction.raw(
      `insert into certificate.authorities (name, kind, subject_key_identifier, certificate) values ('a', 'issuing', 'a', 'a');
       insert into certificate.enrolments (account_id, number, profile, path, state, subject_public_key_info) values
         ('${account}', 1, 'p', 'csr', 'renewed', 'first'), ('${account}', 2, 'p', 'csr', 'revoked', 'second'), ('${account}', 3, 'p', 'csr', 'revoked', null);
       insert into certificate.enrolments (account_id, number, profile, path, state, subject_public_key_info, renews, same_key)
         select account_id, 4, profile, path, 'issued', subject_public_key_info, id, true from certificate.enrolments where number = 1;
       insert into certificate.intents (enrolment_id, authority_id, serial_number, crl_partition, account_id, agency_id, address, profile,
           key_kind, tbs, not_before, not_after)
         select e.id, a.id, 's', 0, account_id, account_id, 'x@y', profile, 'ec-p256', 'tbs', now(), now()
         from certificate.enrolments e, certificate.authorities a where number = 4`,
    );
    await migrations['0014-written-once']!(transaction);
  });

  const keys = await owner('certificate.enrolled_keys as k').join(
    'certificate.enrolments as e',
    'e.id',
    'k.enrolment_id',
  );
  expect(keys.map(({ number }) => number).sort()).toEqual([1, 2]);
  expect(await owner('certificate.intents')).toMatchObject([
    { actor_kind: 'system', actor_id: 'certificate', source_ip: null },
  ]);

  const enrol = (values: object) =>
    owner('certificate.enrolments').insert({
      account_id: account,
      profile: 'p',
      path: 'csr',
      state: 'revoked',
      ...values,
    });
  await expect(enrol({ subject_public_key_info: Buffer.from('second') })).rejects.toThrow('enrolled_keys_unique');
  await expect(enrol({ state: 'awaiting_csr' })).rejects.toThrow('enrolments_one_open');
  const { id: first } = keys.find(({ number }) => number === 1);
  await expect(enrol({ state: 'expired', renews: first })).rejects.toThrow('enrolments_one_renewal');
  await enrol({ renews: first });
  const renewed = owner('certificate.enrolments').where({ number: 4 });
  await expect(renewed.clone().update({ same_key: false })).rejects.toThrow('enrolled_keys_unique');

  const [begun] = await renewed.clone();
  await owner.raw(`select certificate.store_issued(array[?::uuid], array['\\x30'::bytea])`, [begun.id]);
  expect(await owner('certificate.certificates')).toMatchObject([{ enrolment_id: begun.id, state: 'valid' }]);
  expect(await owner('directory.audit_events').where({ action: 'certificate.issued' })).toMatchObject([
    { actor_kind: 'system', actor_id: 'certificate', subject_id: account, after: { enrolmentId: begun.id } },
  ]);
  await enrol({ subject_public_key_info: Buffer.from('third') });
  const third = owner('certificate.enrolments').where({ subject_public_key_info: Buffer.from('third') });
  await expect(third.clone().update({ subject_public_key_info: Buffer.from('first') })).rejects.toThrow(
    'enrolled_keys_unique',
  );
});
