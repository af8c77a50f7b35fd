/**
 * What the column of remarks says in Vietnamese about a line: accepted, corrected and how, or refused with each cell, the reason
 * and what to do. A text is made of the finding's code alone; of its detail only cells are taken.
 */
import type { RequestLine } from '@congvu/contracts';

const nameAgain = 'gõ lại họ tên';
const fullDate = 'ghi đủ ngày/tháng/năm, ví dụ 05/03/1980';

/** By the codes of the findings. `{cell}` is another cell that the finding names. */
const texts: Readonly<Record<string, string>> = {
  // Corrections
  unicode_form: 'chuyển dấu sang Unicode dựng sẵn',
  spaces: 'bỏ khoảng trắng thừa',
  letter_d: 'thay chữ giống Đ bằng chữ Đ',
  apostrophe: 'thay dấu nháy, dấu nối bằng dạng thường',
  honorific_removed: 'bỏ từ xưng hô (Ông/Bà) trước họ tên',
  capitals: 'viết lại chữ hoa, chữ thường',
  tone_placement: 'đặt lại vị trí dấu thanh',
  phone_separators: 'bỏ dấu chấm, khoảng trắng trong số điện thoại',
  phone_country_code: 'đổi mã quốc gia +84 thành số 0',
  phone_leading_zero: 'thêm lại số 0 đầu số điện thoại mà bảng tính đã bỏ',
  phone_renumbered: 'đổi số điện thoại 11 số sang 10 số theo đầu số mới năm 2018',
  national_id_leading_zero: 'thêm lại số 0 đầu số CCCD mà bảng tính đã bỏ',
  national_id_separators: 'bỏ dấu chấm, khoảng trắng trong số CCCD',
  agency_code_case: 'viết mã đơn vị bằng chữ hoa',
  agency_code_legacy: 'đổi mã đơn vị kiểu cũ sang kiểu mới',
  // Faults
  cell_formula: 'ô có công thức; thay công thức bằng giá trị',
  cell_error: 'ô báo lỗi công thức; thay bằng giá trị đúng',
  cell_type: 'kiểu dữ liệu của ô không đúng; định dạng ô là văn bản (Text) rồi gõ lại',
  name_empty: 'thiếu họ tên; ghi đủ họ và tên',
  name_too_long: 'họ tên quá dài; mỗi dòng chỉ ghi một người',
  name_single_word: 'họ tên chỉ có một từ; ghi đủ họ và tên',
  name_control_character: 'họ tên có ký tự xuống dòng hoặc ký tự điều khiển; ghi trên một dòng',
  name_invisible_character: `họ tên có ký tự ẩn; ${nameAgain}`,
  name_digit: 'họ tên có chữ số; họ tên chỉ gồm chữ cái',
  name_symbol: 'họ tên có ký hiệu lạ; họ tên chỉ gồm chữ cái',
  name_script: 'họ tên không viết bằng chữ Việt; viết lại bằng chữ Việt',
  name_mixed_scripts: `họ tên lẫn chữ cái của bảng chữ khác; ${nameAgain}`,
  name_letter: 'họ tên có chữ không thuộc bảng chữ Việt; nếu dùng phông cũ (TCVN3, VNI), chuyển sang Unicode',
  name_legacy_encoding: 'họ tên có vẻ dùng phông cũ (TCVN3, VNI); chuyển sang Unicode',
  name_stray_mark: `họ tên có dấu đứng rời; ${nameAgain}`,
  ambiguous_honorific:
    'không rõ "Ông"/"Bà" là xưng hô hay họ; bỏ đi, hoặc ghi "Ông: " trước cả họ tên nếu đó là một phần của họ tên',
  honorific_contradicts_sex:
    '"Ông"/"Bà" không khớp với giới tính; sửa một trong hai, hoặc ghi "Ông: ", "Bà: " trước cả họ tên nếu đó là họ',
  date_empty: `thiếu ngày sinh; ${fullDate}`,
  date_year_only: `chỉ có năm sinh; ${fullDate}`,
  date_day_missing: `chỉ có tháng và năm sinh; ${fullDate}`,
  date_two_digit_year: 'năm sinh chỉ có hai chữ số; ghi đủ bốn chữ số',
  date_form: `không đọc được ngày sinh; ${fullDate}`,
  date_number: `ô là một con số không có định dạng ngày; ${fullDate}`,
  date_impossible: 'ngày sinh không có trong lịch; ghi theo thứ tự ngày/tháng/năm',
  date_out_of_range: 'năm sinh không hợp lý; kiểm tra lại',
  birth_date_implausible: 'theo ngày sinh, tuổi không từ 15 đến 100; kiểm tra lại',
  sex_form: 'giới tính phải là "Nam" hoặc "Nữ"',
  phone_form: 'không phải số di động Việt Nam (10 số, đầu 03, 05, 07, 08, 09); kiểm tra lại',
  phone_several: 'ô có nhiều số điện thoại; chỉ ghi một số di động',
  phone_foreign: 'không phải số điện thoại Việt Nam (+84); ghi số di động Việt Nam',
  phone_landline: 'đây là số cố định; ghi số di động',
  phone_empty: 'ô số điện thoại trống',
  national_id_empty: 'thiếu số CCCD; ghi đủ 12 chữ số',
  national_id_characters: 'số CCCD có ký tự không phải chữ số; định dạng ô là văn bản (Text) và ghi 12 chữ số',
  national_id_old: 'đây là số CMND 9 số, không còn giá trị; ghi số CCCD 12 chữ số',
  national_id_length: 'số CCCD không đủ 12 chữ số; định dạng ô là văn bản (Text) và ghi đủ 12 chữ số',
  agency_not_found: 'không có đơn vị tên (mã) này trong cơ quan gửi yêu cầu; ghi đúng tên hoặc mã đơn vị',
  agency_empty: 'thiếu đơn vị, trong khi các dòng trên có ghi; ghi đơn vị ở từng dòng, không gộp ô',
  agency_ambiguous: 'có nhiều đơn vị cùng tên này; ghi mã đơn vị thay cho tên',
  agency_closed: 'đơn vị này đã ngừng hoạt động; ghi đơn vị hiện nay',
  agency_outside_request: 'đơn vị này không thuộc cơ quan gửi yêu cầu',
  title_too_long: 'chức vụ dài quá 200 ký tự; ghi gọn lại',
  title_character: 'chức vụ có ký tự ẩn hoặc ký tự điều khiển; gõ lại',
  certificate_form: 'cột chứng thư số: ghi "có", "không" hoặc "token", hoặc để trống',
  repeated_in_sheet: 'số CCCD này đã có ở ô {cell}; chỉ giữ một dòng',
  repeated_in_request: 'người này đã có trong yêu cầu; chỉ giữ một dòng',
  person_has_account: 'người có số CCCD này đã có tài khoản; nếu chuyển đơn vị, lập yêu cầu chuyển',
  person_has_request: 'người có số CCCD này đang chờ duyệt trong một yêu cầu khác; bỏ dòng này',
  // Warnings
  national_id_province: 'mã tỉnh trong số CCCD không có thật; kiểm tra lại',
  national_id_sex: 'số CCCD không khớp với giới tính; kiểm tra lại',
  national_id_birth_year: 'số CCCD không khớp với năm sinh; kiểm tra lại',
  same_name_and_birth_date: 'trùng họ tên và ngày sinh với ô {cell}, khác số CCCD; nếu là một người, bỏ một dòng',
  number_gap: 'số thứ tự không liên tục; kiểm tra có sót dòng không',
  number_repeated: 'số thứ tự bị trùng; kiểm tra có lặp dòng không',
};

type Finding = RequestLine['findings'][number];

/** The remark on one line. It begins with a letter, so that no spreadsheet program takes it for a formula. */
export function remarkOn({ state, fullName, findings }: Pick<RequestLine, 'state' | 'fullName' | 'findings'>): string {
  const of = (severity: Finding['severity']) => findings.filter((finding) => finding.severity === severity);
  const list = (some: readonly Finding[]): string => some.map(textOn).join('; ');
  const parts: string[] = [];
  const [corrections, warnings] = [of('correction'), of('warning')];
  if (state === 'refused') parts.push(`KHÔNG NHẬN. ${list(of('fault'))}.`);
  else if (corrections.length === 0) parts.push('Đạt.');
  else {
    const readAs = corrections.some(({ code }) => nameCorrections.has(code)) ? ` Họ tên đọc là "${fullName}".` : '';
    parts.push(`Đạt, đã sửa khi đọc: ${list(corrections)}.${readAs}`);
  }
  if (warnings.length > 0) parts.push(`Lưu ý: ${list(warnings)}.`);
  return parts.join(' ');
}

const rowTexts: Readonly<Record<string, string>> = {
  row_group: 'Dòng tên nhóm, không phải người.',
  row_heading: 'Dòng tiêu đề, không phải người.',
  row_empty: 'Dòng trống.',
};

/** The remark on a row that is no line, by the code of its note; none on what stands below the list. */
export const remarkOnRow = (code: string): string | undefined => rowTexts[code];

const nameCorrections = new Set(
  'unicode_form spaces letter_d apostrophe honorific_removed capitals tone_placement'.split(' '),
);

export const knowsFinding = (code: string): boolean => code in texts;

function textOn({ cell, code, detail }: Finding): string {
  const other = /\b[A-Z]{1,3}[1-9]\d*\b/.exec(detail)?.[0] ?? '';
  const text = texts[code]?.replace('{cell}', other) ?? detail.replace(/\.$/, '');
  return cell ? `${cell}: ${text}` : text;
}
