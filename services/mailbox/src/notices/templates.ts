/** What notices say, in Vietnamese: subject, plain text, and the same as HTML. */
import type { DecisionSource, ReturnSource } from './notice-store.ts';

export interface NoticeText {
  subject: string;
  text: string;
  html: string;
}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** Paragraphs of plain text as both forms of a message. */
const compose = (subject: string, paragraphs: readonly string[]): NoticeText => ({
  subject,
  text: `${paragraphs.join('\n\n')}\n`,
  html: `<!doctype html><html lang="vi"><meta charset="utf-8"><body>${paragraphs
    .map((paragraph) => `<p>${escapeHtml(paragraph).replaceAll('\n', '<br>')}</p>`)
    .join('')}</body></html>`,
});

const vietnamTime = new Intl.DateTimeFormat('vi-VN', {
  dateStyle: 'short',
  timeStyle: 'short',
  timeZone: 'Asia/Ho_Chi_Minh',
});

export const welcomeText = (account: { displayName: string; address: string; agencyName: string }): NoticeText =>
  compose('Chào mừng đến với hệ thống thư công vụ', [
    `Kính gửi ${account.displayName},`,
    `Hộp thư công vụ ${account.address} của ông/bà tại ${account.agencyName} đã được cấp và sẵn sàng sử dụng.`,
    'Mật khẩu chỉ do ông/bà đặt và giữ. Không ai, kể cả quản trị viên, biết hoặc được hỏi mật khẩu này.',
    'Thư này được gửi tự động; vui lòng không trả lời.',
  ]);

const outcome: Record<string, string> = {
  approved: 'được phê duyệt',
  fulfilled: 'được phê duyệt',
  rejected: 'bị từ chối',
};

function accountList({ accounts, openedCount }: DecisionSource): string {
  if (accounts.length === 0) return `Số tài khoản được cấp: ${openedCount}; danh sách trên hệ thống.`;
  const named = accounts.map(({ name, address }) => `- ${name}: ${address}`);
  const others = openedCount - accounts.length;
  if (others > 0) named.push(`- và ${others} tài khoản khác; danh sách đầy đủ trên hệ thống`);
  return `Tài khoản được cấp:\n${named.join('\n')}`;
}

export function decisionText(decision: DecisionSource): NoticeText {
  const result = outcome[decision.state] ?? decision.state;
  return compose(`Yêu cầu cấp tài khoản của ${decision.agencyName} đã ${result}`, [
    `Kính gửi ${decision.agencyName},`,
    `Yêu cầu gồm ${decision.lineCount} dòng, gửi lúc ${vietnamTime.format(decision.submittedAt)}, đã ${result} lúc ${vietnamTime.format(decision.decidedAt)}${decision.decidedByName ? ` bởi ${decision.decidedByName}` : ''}.`,
    ...(decision.remark ? [`Ý kiến: ${decision.remark}`] : []),
    ...(decision.rejectedCount > 0 && decision.state !== 'rejected'
      ? [`Trong đó ${decision.rejectedCount} dòng không được duyệt; xem ý kiến từng dòng trên hệ thống.`]
      : []),
    ...(decision.openedCount > 0 ? [accountList(decision)] : []),
    ...(decision.openedCount > 0 ? ['Cơ quan lấy mã kích hoạt trên hệ thống và giao tận tay từng người.'] : []),
    'Thư này được gửi tự động; vui lòng không trả lời.',
  ]);
}

/** So many remarks on single lines are in a letter; all are in the system. */
const mostLines = 50;

export function returnText(returned: ReturnSource): NoticeText {
  const lines = returned.lines.slice(0, mostLines).map(({ lineNumber, remark }) => `- Dòng ${lineNumber}: ${remark}`);
  const others = returned.lines.length - lines.length;
  if (others > 0) lines.push(`- và ${others} dòng khác; xem trên hệ thống`);
  return compose(`Yêu cầu của ${returned.agencyName} cần bổ sung, chỉnh sửa`, [
    `Kính gửi ${returned.agencyName},`,
    `Yêu cầu gửi lúc ${vietnamTime.format(returned.submittedAt)} được ${returned.returnedByName} trả lại lúc ${vietnamTime.format(returned.returnedAt)} để chỉnh sửa.`,
    `Ý kiến: ${returned.remark}`,
    ...(lines.length > 0 ? [lines.join('\n')] : []),
    `Đề nghị chỉnh sửa và gửi lại${returned.dueAt ? ` trước ${vietnamTime.format(returned.dueAt)}` : ''}.`,
    'Thư này được gửi tự động; vui lòng không trả lời.',
  ]);
}
