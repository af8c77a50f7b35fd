/** What the service is told from outside is refused with every fault at once. */
import { expect, test } from '@jest/globals';
import { configSchema } from './config.ts';

const sound = {
  PORT: '1',
  DATABASE_URL: 'postgres://unused',
  LDAP_URL: 'ldap://unused',
  LDAP_BASE_DN: 'unused',
  LDAP_BIND_DN: 'unused',
  LDAP_PASSWORD: 'unused',
  ISSUER_URL: 'https://directory.test',
  TOKEN_SIGNING_KEY: '-----BEGIN PRIVATE KEY-----',
  PERSONAL_DATA_KEY: '0'.repeat(64),
  PERSONAL_DATA_INDEX_KEY: '0'.repeat(64),
};

test('a policy of usernames and deadlines may be given, and have a default', () => {
  expect(configSchema.parse(sound)).toMatchObject({
    USERNAME_PATTERNS: ['{given}{initials}', '{given}{initials}.{agency}', '{given}{initials}{number}.{agency}'],
    DECISION_DAYS: 3,
    CORRECTION_DAYS: 10,
  });
  const told = configSchema.parse({
    ...sound,
    USERNAME_PATTERNS: '{surname}{given}, {surname}{given}{number}',
    DECISION_DAYS: '5',
  });
  expect(told).toMatchObject({ USERNAME_PATTERNS: ['{surname}{given}', '{surname}{given}{number}'], DECISION_DAYS: 5 });
});

test('every fault is named', () => {
  const result = configSchema.safeParse({
    ...sound,
    USERNAME_PATTERNS: '{name},{given}',
    DECISION_DAYS: '0',
    CORRECTION_DAYS: 'x',
  });
  expect(result.error?.issues.map((issue) => [issue.path[0], issue.message])).toEqual([
    ['USERNAME_PATTERNS', expect.stringContaining('there is no {name}')],
    ['USERNAME_PATTERNS', expect.stringContaining('"{name}": it needs')],
    ['USERNAME_PATTERNS', expect.stringContaining('"{given}": the last pattern')],
    ['DECISION_DAYS', expect.any(String)],
    ['CORRECTION_DAYS', expect.any(String)],
  ]);
});
