/** Programs that ask for tokens. */
import { z } from 'zod';
import { Timestamp, Uuid } from './common.ts';

export const Client = z.object({
  id: Uuid,
  name: z.string(),
  agencyCode: z.string(),
  permissions: z.array(z.string()),
  createdAt: Timestamp,
  disabledAt: Timestamp.nullable(),
});
export type Client = z.infer<typeof Client>;
