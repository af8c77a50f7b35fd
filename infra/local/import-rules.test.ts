/** The rules of direction are the linter's to enforce; this shows that they bite, and only where they should. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { repository } from './state.ts';

const refused = [
  ['packages/http/src/x.ts', '@congvu/directory/app'],
  ['packages/database/src/x.ts', 'express'],
  ['packages/contracts/src/x.ts', 'knex'],
  ['packages/vietnamese/src/x.ts', '@congvu/database'],
  ['services/directory/src/accounts/open-accounts.ts', 'express'],
  ['services/directory/src/accounts/open-accounts.ts', 'knex'],
  ['services/directory/src/accounts/open-accounts.ts', 'ldapts'],
  ['services/directory/src/accounts/open-accounts.ts', './routes.ts'],
  ['services/directory/src/accounts/account-store.ts', './open-accounts.ts'],
  ['services/directory/src/accounts/account-store.ts', 'express'],
  ['services/directory/src/accounts/routes.ts', 'ldapts'],
  ['services/directory/src/accounts/open-accounts.ts', '@congvu/mailbox/app'],
  ['services/mailbox/src/mailboxes/converge-mailbox.ts', 'nodemailer'],
  ['services/mailbox/src/mailboxes/converge-mailbox.ts', '../../../directory/src/app.ts'],
  ['services/certificate/src/certificates/issue-certificate.ts', 'node-forge'],
  ['services/certificate/src/authority/issuer.ts', '@congvu/database'],
  ['services/certificate/src/authority/issuer.ts', '../certificates/certificate-store.ts'],
] as const;

const allowed = [
  ['packages/http/src/x.ts', 'express'],
  ['packages/database/src/x.ts', 'knex'],
  ['packages/ldap/src/x.ts', 'ldapts'],
  ['services/directory/src/accounts/routes.ts', './open-accounts.ts'],
  ['services/directory/src/accounts/open-accounts.ts', './account-store.ts'],
  ['services/directory/src/requests/decide-request.ts', '../accounts/open-accounts.ts'],
  ['services/mailbox/src/notices/mail-transport.ts', 'nodemailer'],
  ['services/certificate/src/certificates/issue-certificate.ts', '../authority/issuer.ts'],
] as const;

let work: string;
/** `file:line` of every import that the linter refuses. */
let found: Set<string>;
/** A line of its own for every import of a file. */
const lineOf = (file: string, imported: string): number =>
  [...refused, ...allowed].filter(([name]) => name === file).findIndex(([, name]) => name === imported) + 1;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'congvu-rules-'));
  const { vcs: _, $schema: __, ...configuration } = JSON.parse(readFileSync(join(repository, 'biome.json'), 'utf8'));
  writeFileSync(join(work, 'biome.json'), JSON.stringify(configuration));
  for (const [file] of [...refused, ...allowed]) {
    const imports = [...refused, ...allowed].filter(([name]) => name === file);
    mkdirSync(dirname(join(work, file)), { recursive: true });
    writeFileSync(
      join(work, file),
      imports.map(([, imported], index) => `import x${index} from '${imported}';\n`).join(''),
    );
  }
  const { stdout } = spawnSync(
    join(repository, 'node_modules/.bin/biome'),
    ['lint', '--only=style/noRestrictedImports', '--reporter=github', '--max-diagnostics=none', '.'],
    { cwd: work, encoding: 'utf8' },
  );
  found = new Set(
    [...stdout.replaceAll(`${work}/`, '').matchAll(/noRestrictedImports,file=([^,]+),line=(\d+)/g)].map(
      ([, file, line]) => `${file}:${line}`,
    ),
  );
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

test.each(refused)('%s may not import %s', (file, imported) => {
  expect(found).toContain(`${file}:${lineOf(file, imported)}`);
});

test.each(allowed)('%s may import %s', (file, imported) => {
  expect(found).not.toContain(`${file}:${lineOf(file, imported)}`);
});
