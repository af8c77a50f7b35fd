/**
 * PostgreSQL in a container, on the same configuration files as the local stack. The cluster is initialised into a draft that
 * gets its name when it is complete; an existing one is never touched.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../local/process.ts';
import type { Container, Engine } from './container.ts';

const clusterOf = (container: Container): string => join(container.data, 'data');
const binary = (container: Container, name: string): string => join(container.value('POSTGRES_BINARIES'), name);

export const postgres: Engine = {
  configure(container) {
    const values = {
      ...container.values('LISTEN_ADDRESS', 'CLIENT_NETWORK', 'POSTGRES_PORT'),
      POSTGRES_CONFIG_DIRECTORY: container.config,
      SOCKET_DIRECTORY: '',
    };
    container.render('postgres/pg_hba.conf', 'pg_hba.conf', values);
    const config = container.render('postgres/postgresql.conf', 'postgresql.conf', values);
    const args = ['-D', clusterOf(container), '-c', `config_file=${config}`];
    return { command: binary(container, 'postgres'), args };
  },
  async prepare(container) {
    const cluster = clusterOf(container);
    if (existsSync(join(cluster, 'PG_VERSION'))) return;
    const draft = `${cluster}.new`;
    rmSync(draft, { recursive: true, force: true });
    const password = container.write('password.new', container.value('POSTGRES_PASSWORD'));
    try {
      // The builtin C.UTF-8 sorts the same on every machine; Vietnamese order is asked for by name, COLLATE "vi-x-icu".
      const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
      const access = ['--auth=scram-sha-256', '--username=postgres', `--pwfile=${password}`];
      await run(binary(container, 'initdb'), ['-D', draft, ...locale, ...access, '--data-checksums']);
    } finally {
      rmSync(password);
    }
    renameSync(draft, cluster);
  },
};
