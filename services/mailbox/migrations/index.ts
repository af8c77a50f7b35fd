/** The mailbox schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as returnNotices } from './0002-return-notices.ts';
import { up as credentialEpoch } from './0003-credential-epoch.ts';
import { up as mailAttributes } from './0004-mail-attributes.ts';
import { up as domainsAndAliases } from './0005-domains-and-aliases.ts';
import { up as mailboxKinds } from './0006-mailbox-kinds.ts';
import { up as groups } from './0007-groups.ts';
import { up as usage } from './0008-usage.ts';
import { up as notices } from './0009-notices.ts';
import { up as certificateNotices } from './0010-certificate-notices.ts';
import { up as usageOfMany } from './0011-usage-of-many.ts';
import { up as rolesByTheWayUp } from './0012-roles-by-the-way-up.ts';

export const migrations: Migrations = {
  '0001-initial': initial,
  '0002-return-notices': returnNotices,
  '0003-credential-epoch': credentialEpoch,
  '0004-mail-attributes': mailAttributes,
  '0005-domains-and-aliases': domainsAndAliases,
  '0006-mailbox-kinds': mailboxKinds,
  '0007-groups': groups,
  '0008-usage': usage,
  '0009-notices': notices,
  '0010-certificate-notices': certificateNotices,
  '0011-usage-of-many': usageOfMany,
  '0012-roles-by-the-way-up': rolesByTheWayUp,
};
