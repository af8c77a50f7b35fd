/**
 * What notices tell: plain values, as the templates take them. A fact that need not be there is null and never absent, because a
 * template that names what is absent is broken. Times are RFC 3339 in UTC; templates write them in Vietnam's.
 */
import type { NoticeKind } from '@congvu/contracts';

export interface AccountFacts {
  displayName: string;
  address: string;
  agencyName: string;
}

export interface SuspensionFacts extends AccountFacts {
  toHolder: boolean;
  /** The agency's to know. */
  reason: string | null;
  until: string | null;
}

export interface ExpiryFacts extends AccountFacts {
  what: 'suspension' | 'retention' | 'alias';
  endsAt: string;
  /** The further address that ends. */
  alias: string | null;
}

/** What it is for; of those of the Government's CA the kind of its form says it. */
export type CertificateUse = 'signature' | 'encryption' | 'seal' | 'device';

export interface CertificateExpiryFacts extends AccountFacts {
  toHolder: boolean;
  serialNumber: string;
  use: CertificateUse;
  issuedBy: 'province' | 'government';
  endsAt: string;
}

export interface DecisionFacts {
  agencyName: string;
  outcome: 'approved' | 'rejected';
  remark: string | null;
  submittedAt: string;
  decidedAt: string;
  decidedByName: string | null;
  lineCount: number;
  rejectedCount: number;
  openedCount: number;
  /** The first of them. */
  accounts: { name: string; address: string }[];
  otherCount: number;
}

export interface ReturnFacts {
  agencyName: string;
  submittedAt: string;
  returnedAt: string;
  returnedByName: string;
  remark: string;
  /** The first of them. */
  lines: { lineNumber: number; remark: string }[];
  otherCount: number;
  dueAt: string | null;
}

/** Lists hold the first ten, the worst before the others. */
export interface DigestFacts {
  agencyName: string;
  from: string;
  to: string;
  requests: {
    waiting: number;
    late: number;
    returned: number;
    returnedLate: number;
    oldestAt: string | null;
    agencies: { code: string; name: string; waiting: number; late: number }[];
  };
  accounts: {
    total: number;
    opened: number;
    suspended: number;
    neverActivated: number;
    agencies: { code: string; name: string; neverActivated: number; total: number }[];
  };
  coverage: {
    headCount: number;
    accounts: number;
    agencies: { code: string; name: string; headCount: number; accounts: number }[];
  };
  /** Null while nobody measures how full mailboxes are. */
  nearlyFull: { count: number; mailboxes: { address: string; percent: number }[] } | null;
  failedNotices: number;
}

export interface FactsByKind {
  welcome: AccountFacts;
  decision: DecisionFacts;
  return: ReturnFacts;
  suspension: SuspensionFacts;
  resumption: AccountFacts;
  expiry: ExpiryFacts;
  certificate_expiry: CertificateExpiryFacts;
  digest: DigestFacts;
}

const account: AccountFacts = {
  displayName: 'Huỳnh Thanh Điền',
  address: 'dienht@nghean.gov.vn',
  agencyName: 'Ủy ban nhân dân huyện Quỳnh Lưu',
};
const agency = { code: 'H41.12', name: account.agencyName };
const [monday, friday] = ['2026-03-09T00:00:00.000Z', '2026-03-13T08:30:00.000Z'];

const decision: DecisionFacts = {
  agencyName: account.agencyName,
  outcome: 'approved',
  remark: 'Đã đối chiếu hồ sơ',
  submittedAt: monday,
  decidedAt: friday,
  decidedByName: 'Phòng Công nghệ thông tin',
  lineCount: 60,
  rejectedCount: 2,
  openedCount: 51,
  accounts: [{ name: account.displayName, address: account.address }],
  otherCount: 50,
};
const returned: ReturnFacts = {
  agencyName: account.agencyName,
  submittedAt: monday,
  returnedAt: friday,
  returnedByName: 'Phòng Công nghệ thông tin',
  remark: 'Thiếu quyết định tuyển dụng',
  lines: [{ lineNumber: 3, remark: 'Sai ngày sinh' }],
  otherCount: 7,
  dueAt: friday,
};
const suspension: SuspensionFacts = { ...account, toHolder: false, reason: 'Nghỉ không lương', until: friday };
const expiry: ExpiryFacts = { ...account, what: 'suspension', endsAt: friday, alias: null };
const certificateExpiry: CertificateExpiryFacts = {
  ...account,
  toHolder: true,
  serialNumber: '5f3c1a9be2d07744a1c6',
  use: 'signature',
  issuedBy: 'province',
  endsAt: friday,
};
const digest: DigestFacts = {
  agencyName: 'Ủy ban nhân dân tỉnh Nghệ An',
  from: '2026-03-02T00:00:00.000Z',
  to: monday,
  requests: {
    waiting: 12,
    late: 3,
    returned: 4,
    returnedLate: 1,
    oldestAt: monday,
    agencies: [{ ...agency, waiting: 5, late: 2 }],
  },
  accounts: {
    total: 14_800,
    opened: 35,
    suspended: 12,
    neverActivated: 260,
    agencies: [{ ...agency, neverActivated: 17, total: 90 }],
  },
  coverage: { headCount: 16_000, accounts: 14_200, agencies: [{ ...agency, headCount: 120, accounts: 60 }] },
  nearlyFull: { count: 1, mailboxes: [{ address: account.address, percent: 97 }] },
  failedNotices: 2,
};

/** Of every kind one with everything in it, and those that take the templates' other branches. */
export const samples: { readonly [kind in NoticeKind]: readonly [FactsByKind[kind], ...FactsByKind[kind][]] } = {
  welcome: [account],
  decision: [
    decision,
    { ...decision, rejectedCount: 0, accounts: [], otherCount: 0 },
    {
      ...decision,
      outcome: 'rejected',
      remark: null,
      decidedByName: null,
      openedCount: 0,
      accounts: [],
      otherCount: 0,
    },
  ],
  return: [returned, { ...returned, lines: [], otherCount: 0, dueAt: null }],
  suspension: [suspension, { ...suspension, toHolder: true, reason: null, until: null }],
  resumption: [account],
  expiry: [
    expiry,
    { ...expiry, what: 'retention' },
    { ...expiry, what: 'alias', alias: 'huynhthanhdien@nghean.gov.vn' },
  ],
  certificate_expiry: [
    certificateExpiry,
    { ...certificateExpiry, use: 'encryption' },
    { ...certificateExpiry, toHolder: false, use: 'device' },
    { ...certificateExpiry, toHolder: false, use: 'seal', issuedBy: 'government' },
  ],
  digest: [
    digest,
    {
      ...digest,
      requests: { waiting: 0, late: 0, returned: 0, returnedLate: 0, oldestAt: null, agencies: [] },
      accounts: { total: 0, opened: 0, suspended: 0, neverActivated: 0, agencies: [] },
      coverage: { headCount: 0, accounts: 0, agencies: [] },
      nearlyFull: null,
      failedNotices: 0,
    },
  ],
};
