/** Brings the directory schema to its newest form: run once before the service's new version starts. */
import { migrate } from '@congvu/database';
import { parseConfig } from '@congvu/http';
import { z } from 'zod';
import { migrations } from '../migrations/index.ts';

const config = parseConfig(z.object({ OWNER_DATABASE_URL: z.string().startsWith('postgres') }), process.env);
await migrate({
  ownerUrl: config.OWNER_DATABASE_URL,
  schema: 'directory',
  runtimeRole: 'congvu_directory',
  migrations,
});
