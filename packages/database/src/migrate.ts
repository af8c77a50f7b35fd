/**
 * Brings one service's schema and its job queue to the newest form. Safe to run from many processes at once, and after
 * being killed half-way: each migration is one transaction, and one advisory lock admits one migrator at a time.
 */
import { runMigrations } from 'graphile-worker';
import type { Knex } from 'knex';
import pg from 'pg';
import { openDatabase } from './open.ts';

/** By a name that never changes and has no file extension, in the order in which they run. */
export type Migrations = Readonly<Record<string, (transaction: Knex.Transaction) => Promise<unknown>>>;

export interface MigrateOptions {
  /** As the role that owns the schemas; the services themselves run as roles that cannot change them. */
  ownerUrl: string;
  schema: 'directory' | 'mailbox' | 'certificate';
  /** The role that the service runs as. */
  runtimeRole: string;
  migrations: Migrations;
}

export const jobsSchema = (schema: string): string => `${schema}_jobs`;

export async function migrate(options: MigrateOptions): Promise<void> {
  const lock = new pg.Client({ connectionString: options.ownerUrl, application_name: `migrate ${options.schema}` });
  await lock.connect();
  try {
    await lock.query('select pg_advisory_lock(hashtextextended($1, 0))', [`congvu migrate ${options.schema}`]);
    await migrateJobs(options);
    await migrateSchema(options);
  } finally {
    await lock.end();
  }
}

async function migrateJobs({ ownerUrl, schema, runtimeRole }: MigrateOptions): Promise<void> {
  const jobs = jobsSchema(schema);
  await runMigrations({ connectionString: ownerUrl, schema: jobs });
  const owner = openDatabase({ url: ownerUrl, name: `migrate ${jobs}`, poolSize: 1 });
  try {
    // The queue's tables have row-level security on, so that grants alone would show the runtime role no row.
    await owner.raw(`
      grant usage on schema ${jobs} to ${runtimeRole};
      grant select, insert, update, delete on all tables in schema ${jobs} to ${runtimeRole};
      grant usage, select on all sequences in schema ${jobs} to ${runtimeRole};
      grant execute on all functions in schema ${jobs} to ${runtimeRole};
      do $$
      declare tbl record;
      begin
        for tbl in select c.relname from pg_class c where c.relnamespace = '${jobs}'::regnamespace and c.relrowsecurity
        loop
          execute format('drop policy if exists runtime on ${jobs}.%I', tbl.relname);
          execute format('create policy runtime on ${jobs}.%I to ${runtimeRole} using (true) with check (true)', tbl.relname);
        end loop;
      end $$;`);
  } finally {
    await owner.destroy();
  }
}

async function migrateSchema({ ownerUrl, schema, migrations }: MigrateOptions): Promise<void> {
  const owner = openDatabase({ url: ownerUrl, name: `migrate ${schema}`, poolSize: 2 });
  try {
    const settings: Knex.MigratorConfig = {
      schemaName: schema,
      tableName: 'migrations',
      migrationSource: {
        getMigrations: async () => Object.keys(migrations),
        getMigrationName: (name: string) => name,
        getMigration: async (name: string) => ({
          up: async (transaction: Knex) => void (await migrations[name]?.(transaction as Knex.Transaction)),
          down: async () => {
            throw new Error('migrations only go forward; restore the backup that was made before');
          },
        }),
      },
    };
    // A killed migrator leaves knex's own lock behind; our advisory lock says that nobody else is at work.
    await owner.migrate.forceFreeMigrationsLock(settings);
    await owner.migrate.latest(settings);
  } finally {
    await owner.destroy();
  }
}
