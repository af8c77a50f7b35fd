/** The mailbox schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as returnNotices } from './0002-return-notices.ts';
import { up as credentialEpoch } from './0003-credential-epoch.ts';
import { up as mailAttributes } from './0004-mail-attributes.ts';
import { up as domainsAndAliases } from './0005-domains-and-aliases.ts';

export const migrations: Migrations = {
  '0001-initial': initial,
  '0002-return-notices': returnNotices,
  '0003-credential-epoch': credentialEpoch,
  '0004-mail-attributes': mailAttributes,
  '0005-domains-and-aliases': domainsAndAliases,
};
