import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

type Message = string | Record<string, string>;
const folder = fileURLToPath(new URL('../src', import.meta.url));
const load = (file: string): Record<string, Message> => JSON.parse(readFileSync(join(folder, 'i18n', file), 'utf8'));
const english = load('en.json');
const files = readdirSync(join(folder, 'i18n')).filter((name) => name.endsWith('.json'));

const texts = (message: Message) => (typeof message === 'string' ? [message] : Object.values(message));
const names = (message: Message) => new Set(texts(message).flatMap((text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)));

describe.each(files)('%s', (file) => {
  const messages = load(file);
  const tag = file.replace('.json', '');

  it('has every message, and no other', () => {
    expect(Object.keys(messages).sort()).toEqual(Object.keys(english).sort());
  });

  it('names the same values', () => {
    for (const [key, message] of Object.entries(messages)) {
      const wanted = names(english[key] ?? '');
      for (const name of names(message)) expect(wanted, key).toContain(name);
      // A count may be in the words themselves.
      if (typeof message === 'string') expect(names(message), key).toEqual(wanted);
    }
  });

  it('has every form of number that the language has', () => {
    const forms = new Intl.PluralRules(tag).resolvedOptions().pluralCategories.sort();
    for (const [key, message] of Object.entries(messages)) {
      expect(typeof message, key).toBe(typeof english[key]);
      if (typeof message !== 'string') expect(Object.keys(message).sort(), key).toEqual(forms);
    }
  });

  it('has no empty message', () => {
    for (const [key, message] of Object.entries(messages)) for (const text of texts(message)) expect(text.trim(), key).not.toBe('');
  });
});

it('every message is used', () => {
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name));
  const code = sources.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
  const unused = Object.keys(english).filter((key) => !new RegExp(`['"]${key}['"]`).test(code));
  expect(unused).toEqual([]);
});
