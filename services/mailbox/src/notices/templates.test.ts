import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { NoticeKind, NoticeLanguage } from '@congvu/contracts';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { samples } from './facts.ts';
import { openTemplates } from './templates.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'congvu-templates-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const put = (file: string, content: string): void => {
  const path = join(directory, `${file}.liquid`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
};
const welcome = samples.welcome[0];
const render = (facts: object = welcome) => openTemplates(directory).render('welcome', 'vi', facts);
const partsOf = async (kind: NoticeKind, language: NoticeLanguage) => {
  const { items } = await openTemplates(directory).check();
  return items.find((item) => item.kind === kind && item.language === language)?.parts;
};

test('every kind is there in both languages, whole and without a fault', async () => {
  const { items, unknownFiles } = await openTemplates(undefined).check();
  expect(items).toHaveLength(NoticeKind.options.length * NoticeLanguage.options.length);
  for (const { parts } of items) {
    expect(parts.map(({ part, source, fault }) => [part, source, fault])).toEqual([
      ['subject', 'built_in', null],
      ['text', 'built_in', null],
      ['html', 'built_in', null],
    ]);
  }
  expect(unknownFiles).toEqual([]);
});

describe.each(NoticeLanguage.options)('each form in %s', (language) => {
  test.each(NoticeKind.options)('%s says the same in text and HTML, on any of its samples', async (kind) => {
    for (const facts of samples[kind]) {
      const { subject, text, html } = await openTemplates(undefined).render(kind, language, facts);
      expect(subject).toMatch(/^\S.{10,}\S$/);
      const seen = html
        .replace(/<\/?strong>/g, '')
        .replace(/<[^>]+>/g, ' ')
        .replace(/\s+/g, ' ')
        .toLowerCase();
      for (const line of text.split('\n')) {
        const words = line
          .replace(/^[-+ ]+/, '')
          .trim()
          .toLowerCase();
        expect(seen).toContain(words);
      }
      expect(text).not.toMatch(/[<>{}]|\n{3}/);
    }
  });
});

test('an administrator’s file stands in for the built-in one, alone and at once', async () => {
  put('vi/welcome.subject', 'Hộp thư của {{ displayName }}');
  expect(await render()).toMatchObject({ subject: 'Hộp thư của Huỳnh Thanh Điền', faults: [] });
  expect((await render()).text).toContain('đã được cấp');
  expect((await openTemplates(directory).render('welcome', 'en', welcome)).subject).toContain('Welcome');
  put('vi/welcome.subject', 'Xin chào {{ address }}');
  expect((await render()).subject).toBe('Xin chào dienht@nghean.gov.vn');
  expect(await partsOf('welcome', 'vi')).toMatchObject([
    { part: 'subject', file: 'vi/welcome.subject.liquid', source: 'override', fault: null },
    { source: 'built_in' },
    { source: 'built_in' },
  ]);
});

test('its values are escaped in HTML and never break out of the subject’s line', async () => {
  put('vi/welcome.html', '<p title="{{ displayName }}">{{ address }}</p>');
  put('vi/welcome.subject', 'Gửi {{ displayName }}');
  const { html, subject } = await render({ ...welcome, displayName: '"><script>x</script>\r\nBcc: a@b.vn' });
  expect(html).not.toContain('<script>');
  expect(html).toContain('&#34;&gt;&lt;script&gt;');
  expect(subject).toBe('Gửi "><script>x</script> Bcc: a@b.vn');
});

test('a layout of the administrator’s frames every notice', async () => {
  put('vi/layout.html', '<html><body>SỞ TT&amp;TT {% block body %}{% endblock %}</body></html>');
  const { html, text } = await render();
  expect(html).toContain('SỞ TT&amp;TT');
  expect(html).toContain('đã được cấp');
  expect(text).not.toContain('SỞ');
});

describe('a broken file of the administrator’s', () => {
  test.each([
    ['a tag that does not end', '{% if displayName %}x', /tag .*if.* not closed/],
    ['a name that there is not', 'Kính gửi {{ fullName }}', /undefined variable: fullName.*line:1/],
    ['a part that there is not', '{{ displayName.x.y }}', /undefined variable/],
    ['a filter that there is not', '{{ displayName | shout }}', /undefined filter: shout/],
    ['a value that its filter cannot take', '{{ displayName | day }}', /this is not a time/],
    ['nothing in it', '  \n', /nothing comes out of it/],
    ['a file of the machine', "{% include '/etc/passwd' %}", /ENOENT|not found|Failed to lookup/i],
    ['a file above', "{% render '../../package.json' %}", /ENOENT|not found|Failed to lookup/i],
    ['an endless loop', '{% for a in (1..100000000) %}{% for b in (1..100000000) %}x{% endfor %}{% endfor %}', /limit/],
    ['the inside of the program', '{{ displayName.constructor.constructor }}', /undefined variable/],
    ['more than a letter can hold', 'x'.repeat(70_000), /more than 65536 octets/],
  ])('%s: told, and the built-in one is used', async (_, content, fault) => {
    put('vi/welcome.text', content);
    const { text, faults } = await render();
    expect(text).toContain('đã được cấp');
    expect(faults).toEqual([expect.stringMatching(fault)]);
    expect(await partsOf('welcome', 'vi')).toMatchObject([
      { source: 'built_in', fault: null },
      { part: 'text', source: 'built_in', fault: expect.stringMatching(fault) },
      { source: 'built_in', fault: null },
    ]);
    expect(JSON.stringify(faults)).not.toContain(directory);
  });

  test('is found where only another sample comes by, and only that letter does without it', async () => {
    put('vi/return.text', '{% if dueAt %}{{ remark }}{% else %}{{ nobody }}{% endif %}');
    expect((await partsOf('return', 'vi'))?.[1]).toMatchObject({
      source: 'built_in',
      fault: expect.stringMatching(/nobody/),
    });
    const templates = openTemplates(directory);
    expect(await templates.render('return', 'vi', samples.return[0])).toMatchObject({
      text: 'Thiếu quyết định tuyển dụng\n',
      faults: [],
    });
    expect((await templates.render('return', 'vi', samples.return[1] as object)).faults).toHaveLength(1);
  });

  test('takes the sound one that goes with it not along', async () => {
    put('vi/layout.html', '{% block body %}');
    put('vi/welcome.html', "{% layout 'layout.html' %}{% block body %}<p>Chào {{ displayName }}</p>{% endblock %}");
    const framed = await render();
    expect(framed.html).toMatch(/^<!doctype html>[\s\S]*<p>Chào Huỳnh Thanh Điền<\/p>/);
    expect(framed.faults).toEqual([expect.stringMatching(/block/)]);
    put('vi/layout.html', '<main>{% block body %}{% endblock %}</main>');
    put('vi/welcome.html', '{{ nobody }}');
    const { html, faults } = await render();
    expect(html).toMatch(/^<main>[\s\S]*đã được cấp[\s\S]*<\/main>$/);
    expect(faults).toEqual([
      expect.stringMatching(/^vi\/welcome\.html\.liquid in vi\/layout\.html\.liquid: .*nobody/),
      expect.stringMatching(/^vi\/welcome\.html\.liquid: .*nobody/),
    ]);
  });

  test('that cannot be read, or is no file', async () => {
    mkdirSync(join(directory, 'vi/welcome.text.liquid'), { recursive: true });
    symlinkSync(join(directory, 'vi/welcome.html.liquid'), join(directory, 'vi/welcome.html.liquid'));
    const { faults } = await render();
    expect(faults.sort()).toEqual([
      'vi/welcome.html.liquid: it cannot be read (ELOOP)',
      'vi/welcome.text.liquid: it cannot be read (EISDIR)',
    ]);
  });

  test('a misspelt name is told, because it overrides nothing', async () => {
    put('vi/wellcome.text', 'x');
    put('en/welcome.txt', 'x');
    expect((await openTemplates(directory).check()).unknownFiles).toEqual([
      'en/welcome.txt.liquid',
      'vi/wellcome.text.liquid',
    ]);
  });

  test('a folder that is not there is no fault', async () => {
    const { items } = await openTemplates(join(directory, 'none')).check();
    expect(items.flatMap(({ parts }) => parts).filter(({ fault }) => fault)).toEqual([]);
  });
});
