/** For figures: what the stack's OpenLDAP holds, and a bare OpenLDAP of the same settings, indexes and durability as their floor. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchOptions } from './bench.ts';
import { startOpenLdap } from './openldap.ts';
import { run } from './process.ts';
import { domain } from './stack.ts';
import { openState, removeState } from './state.ts';

/** LDIF, as `as` may read it. */
export async function searchEntries(
  { stack }: BenchOptions,
  args: readonly string[],
  as: 'directory' | 'mailbox' = 'directory',
): Promise<string> {
  const { url, baseDn } = stack.description.ldap;
  const { dn, password } = stack.engines.openldap.credentials(as);
  const file = join(stack.engines.stateDirectory, 'bench-password');
  await writeFile(file, password, { mode: 0o600 });
  const quietly = ['-LLL', '-o', 'ldif-wrap=no', '-b', baseDn];
  return run('ldapsearch', ['-x', '-H', url, '-D', dn, '-y', file, ...quietly, ...args]);
}

export const countEntries = async (options: BenchOptions, filter: string): Promise<number> =>
  (await searchEntries(options, [filter, '1.1'])).match(/^dn:/gm)?.length ?? 0;

/**
 * Starts an OpenLDAP that holds the tree alone, with the machine to itself: what else the stack runs is stopped before, because its
 * letters, checkpoints and vacuums would be the floor's loss. `load` answers the seconds that a program takes with an LDIF, by the
 * root DN, which is spared the access rules that ours pass.
 */
export async function withFloor<T>(
  { portBase, stateDirectory, stack }: BenchOptions,
  work: (load: (program: 'ldapadd' | 'ldapmodify', ldif: string) => Promise<number>) => Promise<T>,
): Promise<T> {
  await stack.services.stop();
  await stack.engines.postgres.stop();
  removeState(`${stateDirectory}-floor`);
  const state = openState(`${stateDirectory}-floor`);
  const rootPassword = state.secret('root');
  const floor = await startOpenLdap({
    state,
    port: portBase + 389,
    baseDn: stack.engines.baseDn,
    domain,
    log: () => undefined,
    rootPassword,
  });
  try {
    const file = state.writeFile('root-password', rootPassword);
    return await work(async (program, ldif) => {
      const path = join(state.directory, `${program}.ldif`);
      await writeFile(path, ldif, { mode: 0o600 });
      const began = performance.now();
      const as = ['-x', '-H', floor.url, '-D', floor.rootDn, '-y', file];
      await run(program, [...as, '-f', path], { timeoutMs: 3_600_000 });
      return (performance.now() - began) / 1_000;
    });
  } finally {
    await floor.stop();
    state.close();
  }
}
