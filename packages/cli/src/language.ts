/**
 * The two languages of the command line. A text stands in both at the place where it is used, so that neither is forgotten.
 * Chosen by `--lang`, else by LC_ALL, LC_MESSAGES or LANG; Vietnamese unless they say otherwise.
 */
export type Language = 'vi' | 'en';

let language: Language = 'vi';

export function chooseLanguage(args: readonly string[], environment: NodeJS.ProcessEnv): void {
  const at = args.findIndex((arg) => arg === '--lang' || arg.startsWith('--lang='));
  const asked = at === -1 ? undefined : (args[at]?.split('=')[1] ?? args[at + 1]);
  const locale = environment.LC_ALL || environment.LC_MESSAGES || environment.LANG || '';
  language = (asked ?? locale).toLowerCase().startsWith('en') ? 'en' : 'vi';
}

/** The text in the chosen language. */
export const t = (vietnamese: string, english: string): string => (language === 'vi' ? vietnamese : english);

/** BCP 47. */
export const locale = (): string => (language === 'vi' ? 'vi-VN' : 'en-GB');

const words: Readonly<Record<string, string>> = {
  // requests and their lines
  draft: 'bản nháp',
  submitted: 'chờ duyệt',
  returned: 'trả lại để sửa',
  approved: 'đã duyệt',
  rejected: 'không duyệt',
  cancelled: 'đã rút, đã hủy',
  fulfilled: 'hoàn thành',
  failed: 'không làm được',
  refused: 'bị từ chối',
  open: 'mở mới',
  close: 'đóng',
  transfer: 'chuyển đơn vị',
  rename: 'đổi tên',
  change_position: 'đổi chức vụ',
  issue_certificate: 'cấp chứng thư số',
  revoke_certificate: 'thu hồi chứng thư số',
  // accounts
  pending: 'chờ',
  active: 'hoạt động',
  suspended: 'tạm khóa',
  retired: 'đã thu hồi',
  person: 'cá nhân',
  position: 'chức vụ',
  agency: 'cơ quan',
  // agencies
  future: 'chưa hiệu lực',
  closed: 'đã đóng',
  province: 'tỉnh',
  department: 'sở, ngành',
  district: 'huyện',
  commune: 'xã, phường',
  school: 'trường',
  public_unit: 'đơn vị sự nghiệp',
  // reconciliations
  queued: 'chờ',
  comparing: 'đang đối chiếu',
  awaiting_approval: 'chờ người thứ hai',
  repairing: 'đang sửa',
  completed: 'xong',
  report: 'chỉ báo cáo',
  repair: 'sửa',
  missing: 'thiếu',
  extra: 'thừa',
  changed: 'lệch',
  found: 'chưa sửa',
  repaired: 'đã sửa',
  obsolete: 'không còn',
};

/** A state or kind as people say it; what is not known stays as it is. `--json` keeps the words of the API. */
export const word = (value: string | null | undefined): string | null | undefined =>
  language === 'vi' && value ? (words[value] ?? value) : value;
