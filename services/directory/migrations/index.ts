/** The directory schema's history, in order. Names never change once released. */
import type { Migrations } from '@congvu/database';
import { up as initial } from './0001-initial.ts';
import { up as draftsAndOperations } from './0002-drafts-and-operations.ts';
import { up as agencyPeriods } from './0003-agency-periods.ts';
import { up as accountLife } from './0004-account-life.ts';
import { up as reconciliations } from './0005-reconciliations.ts';
import { up as searchAuditRoles } from './0006-search-audit-roles.ts';
import { up as requestsCarriedOut } from './0007-requests-carried-out.ts';
import { up as sheetsAsRead } from './0008-sheets-as-read.ts';
import { up as bulk } from './0009-bulk.ts';
import { up as peopleComeBack } from './0010-people-come-back.ts';
import { up as namesFollow } from './0011-names-follow.ts';
import { up as mailNames } from './0012-mail-names.ts';
import { up as changedAddresses } from './0013-changed-addresses.ts';
import { up as whatNoticesTell } from './0014-what-notices-tell.ts';
import { up as usageViews } from './0015-usage-views.ts';
import { up as positionHolders } from './0016-position-holders.ts';
import { up as provenanceOfCertificates } from './0017-provenance-of-certificates.ts';
import { up as oneHand } from './0018-one-hand.ts';
import { up as linesInPlace } from './0019-lines-in-place.ts';
import { up as factsByThemselves } from './0020-facts-by-themselves.ts';
import { up as searchFollows } from './0021-search-follows.ts';
import { up as approvedWithTheRequest } from './0022-approved-with-the-request.ts';
import { up as eventsByColumns } from './0023-events-by-columns.ts';

export const migrations: Migrations = {
  '0001-initial': initial,
  '0002-drafts-and-operations': draftsAndOperations,
  '0003-agency-periods': agencyPeriods,
  '0004-account-life': accountLife,
  '0005-reconciliations': reconciliations,
  '0006-search-audit-roles': searchAuditRoles,
  '0007-requests-carried-out': requestsCarriedOut,
  '0008-sheets-as-read': sheetsAsRead,
  '0009-bulk': bulk,
  '0010-people-come-back': peopleComeBack,
  '0011-names-follow': namesFollow,
  '0012-mail-names': mailNames,
  '0013-changed-addresses': changedAddresses,
  '0014-what-notices-tell': whatNoticesTell,
  '0015-usage-views': usageViews,
  '0016-position-holders': positionHolders,
  '0017-provenance-of-certificates': provenanceOfCertificates,
  '0018-one-hand': oneHand,
  '0019-lines-in-place': linesInPlace,
  '0020-facts-by-themselves': factsByThemselves,
  '0021-search-follows': searchFollows,
  '0022-approved-with-the-request': approvedWithTheRequest,
  '0023-events-by-columns': eventsByColumns,
};
