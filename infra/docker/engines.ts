/** The engines that the entry program knows, by the name of their folder in infra/. */
import type { Engine } from './container.ts';
import { dovecot } from './dovecot.ts';
import { openldap } from './openldap.ts';
import { postfix } from './postfix.ts';
import { postgres } from './postgres.ts';
import { proxy } from './proxy.ts';

export const engines: ReadonlyMap<string, Engine> = new Map(
  Object.entries({ openldap, postfix, dovecot, postgres, proxy }),
);
