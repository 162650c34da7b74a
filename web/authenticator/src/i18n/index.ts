// Texts come from message files, one for each language. English is in the app, the others are loaded when wanted.
// A new language is a new file here and its name in LANGUAGES; a test compares the keys.

import { set, setting } from '../store/db';
import { Watched } from '../store/state';
import english from './en.json';

type Plural = Partial<Record<Intl.LDMLPluralRule, string>>;
export type Messages = Record<keyof typeof english, string | Plural>;
export type Key = keyof typeof english;
type Values = Record<string, string | number>;

export const LANGUAGES: Record<string, string> = { en: 'English', de: 'Deutsch', ar: 'العربية' };
const RIGHT_TO_LEFT = new Set(['ar', 'fa', 'he', 'ur']);

const files = import.meta.glob<Messages>(['./*.json', '!./en.json'], { import: 'default' });

interface Language {
  tag: string;
  messages: Messages;
}

export const language = new Watched<Language>({ tag: 'en', messages: english });

/** The first language of the person that there is a file for. */
function preferred(): string {
  const wanted = navigator.languages.map((tag) => tag.toLowerCase().split('-')[0] ?? '');
  return wanted.find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? 'en';
}

export async function loadLanguage(): Promise<void> {
  const chosen = await setting('language').catch(() => undefined);
  await use(chosen !== undefined && Object.hasOwn(LANGUAGES, chosen) ? chosen : preferred());
}

export async function chooseLanguage(tag: string): Promise<void> {
  await set('language', tag);
  await use(tag);
}

async function use(tag: string): Promise<void> {
  const messages = await files[`./${tag}.json`]?.().catch(() => undefined);
  language.set(messages === undefined ? { tag: 'en', messages: english } : { tag, messages });
  const dir = RIGHT_TO_LEFT.has(language.value.tag) ? 'rtl' : 'ltr';
  document.documentElement.lang = language.value.tag;
  document.documentElement.dir = dir;
  await set('notice', { title: t('notice_title'), body: t('notice_body'), lang: language.value.tag, dir }).catch(() => undefined);
}

/** Digits are the ones that login prompts take, in every language. */
function locale(): string {
  const { tag } = language.value;
  const regional = navigator.languages.find((wanted) => wanted.toLowerCase().startsWith(`${tag}-`)) ?? tag;
  return `${regional.split('-u-')[0]}-u-nu-latn`;
}

export function t(key: Key, values: Values = {}): string {
  const message = language.value.messages[key];
  const text = typeof message === 'string' ? message : (message[new Intl.PluralRules(locale()).select(Number(values.n))] ?? message.other ?? '');
  return text.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name] ?? '';
    // Isolated, so that a name in another direction does not turn the sentence around.
    return typeof value === 'number' ? new Intl.NumberFormat(locale()).format(value) : `\u2068${visible(value)}\u2069`;
  });
}

/** What is not seen, or turns text around; joiners, which some languages need, are not among it. */
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{202a}-\u{202e}\u{2060}-\u{206f}\u{feff}\u{e0000}-\u{e007f}]/gu;

/** Text from outside for one line: what cannot be seen shows as its number. */
export function visible(text: string): string {
  return text.replaceAll(UNSEEN, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

export function dateAndTime(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'short' }).format(ms);
}

export function timeOfDay(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { timeStyle: 'medium' }).format(ms);
}
