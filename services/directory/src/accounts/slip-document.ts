/**
 * Activation slips as PDF: A4, three to a page with lines to cut along, in Vietnamese with its own font embedded. Made while it is
 * read, so that what is held in memory does not grow with the number of slips.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import PDFDocument from 'pdfkit';

export interface Slip {
  displayName: string;
  /** The person who holds a position. */
  holderName: string | null;
  title: string | null;
  agencyName: string;
  address: string;
  code: string;
  expiresAt: Date;
}

export interface LeftOut {
  displayName: string;
  address: string;
  /** In Vietnamese. */
  reason: string;
}

const fontFile = (file: string): Buffer =>
  readFileSync(createRequire(import.meta.url).resolve(`@expo-google-fonts/be-vietnam-pro/${file}`));
/** Be Vietnam Pro (SIL Open Font License 1.1). */
const regular = fontFile('400Regular/BeVietnamPro_400Regular.ttf');
const bold = fontFile('700Bold/BeVietnamPro_700Bold.ttf');

const perPage = 3;
const margin = 42;
const width = 595.28 - 2 * margin;
const height = 841.89 / perPage;

/** The slips of all batches in their order, and at the end who has none and why. */
export async function* slipDocument(
  batches: AsyncIterable<{ slips: readonly Slip[]; leftOut: readonly LeftOut[] }>,
  activationUrl: string,
): AsyncGenerator<Buffer> {
  const document = new PDFDocument({
    size: 'A4',
    margin: 0,
    autoFirstPage: false,
    info: { Title: 'Phiếu kích hoạt tài khoản' },
  });
  document.registerFont('regular', regular);
  document.registerFont('bold', bold);
  const leftOut: LeftOut[] = [];
  let drawn = 0;
  for await (const batch of batches) {
    for (const slip of batch.slips) {
      if (drawn % perPage === 0) document.addPage();
      drawSlip(document, slip, (drawn % perPage) * height, activationUrl);
      drawn += 1;
    }
    leftOut.push(...batch.leftOut);
    for (let chunk = document.read(); chunk !== null; chunk = document.read()) yield chunk as Buffer;
  }
  if (leftOut.length > 0 || drawn === 0) drawLeftOut(document, leftOut);
  document.end();
  for await (const chunk of document) yield chunk as Buffer;
}

function drawSlip(document: PDFKit.PDFDocument, slip: Slip, top: number, activationUrl: string): void {
  if (top > 0) {
    document
      .moveTo(0, top)
      .lineTo(595.28, top)
      .dash(4, { space: 4 })
      .strokeColor('#888888')
      .lineWidth(0.5)
      .stroke()
      .undash();
  }
  document
    .fillColor('black')
    .font('bold')
    .fontSize(14)
    .text('PHIẾU KÍCH HOẠT TÀI KHOẢN', margin, top + 22, { width });
  document.font('regular').fontSize(10);
  const facts = [
    ['Cơ quan', slip.agencyName],
    [slip.holderName === null ? 'Họ và tên' : 'Tài khoản', slip.displayName],
    ...(slip.holderName === null ? [] : [['Người giữ', slip.holderName]]),
    ...(slip.title === null ? [] : [['Chức vụ', slip.title]]),
    ['Địa chỉ thư', slip.address],
  ];
  let y = top + 46;
  for (const [label = '', value = ''] of facts) {
    document.font('regular').text(`${label}:`, margin, y, { width: 90, lineBreak: false });
    // A name may be long; the slip is of one height.
    document.font('bold').text(value, margin + 90, y, { width: width - 90, height: 13, ellipsis: true });
    y += 16;
  }
  document
    .rect(margin, y + 4, width, 38)
    .lineWidth(1)
    .strokeColor('black')
    .stroke();
  document
    .font('regular')
    .fontSize(10)
    .text('Mã kích hoạt:', margin + 10, y + 17, { width: 80, lineBreak: false });
  document
    .font('bold')
    .fontSize(18)
    .text(slip.code, margin + 90, y + 12, { width: width - 100, lineBreak: false });
  y += 50;
  const steps = [
    `Có hiệu lực đến ${vietnameseTime(slip.expiresAt)}, dùng được một lần.`,
    `1. Mở ${activationUrl}`,
    '2. Nhập địa chỉ thư và mã kích hoạt ở trên (không phân biệt chữ hoa, chữ thường).',
    '3. Tự đặt mật khẩu từ 10 ký tự trở lên. Không ai khác biết và không ai được hỏi mật khẩu này.',
  ];
  document.font('regular').fontSize(9);
  for (const step of steps) {
    document.text(step, margin, y, { width, height: 12, ellipsis: true });
    y += 14;
  }
  document
    .font('bold')
    .text(
      'GIỮ KÍN: ai có phiếu này đều có thể chiếm tài khoản. Chỉ giao tận tay người có tên; hủy phiếu sau khi dùng.',
      margin,
      y + 2,
      { width },
    );
}

function drawLeftOut(document: PDFKit.PDFDocument, leftOut: readonly LeftOut[]): void {
  document.addPage({ size: 'A4', margin });
  document.font('bold').fontSize(14).text(`KHÔNG IN PHIẾU: ${leftOut.length} tài khoản`);
  document.font('regular').fontSize(10).moveDown();
  for (const { displayName, address, reason } of leftOut) document.text(`${displayName} <${address}>: ${reason}`);
}

/** 09:30 ngày 22/11/2026, in Vietnam's time. */
const vietnameseTime = (time: Date): string => {
  const [date, clock] = time.toLocaleString('sv-SE', { timeZone: 'Asia/Ho_Chi_Minh' }).split(' ');
  return `${clock?.slice(0, 5)} ngày ${date?.split('-').reverse().join('/')}`;
};
