/** The mailbox schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as mailAttributes } from './0002-mail-attributes.ts';

export const migrations: Migrations = { '0001-initial': initial, '0002-mail-attributes': mailAttributes };
