// What the page says, in the language of who reads it. A message with `one`, `other` … follows the language's own plural
// rules (Unicode CLDR, by Intl.PluralRules), counted by its field `n`.

import english from '../messages/en.json';

export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français' } as const;
export type Language = keyof typeof LANGUAGES;
type Plural = Partial<Record<Intl.LDMLPluralRule, string>>;
export type Messages = Record<string, string | Plural>;
export type Key = keyof typeof english;

const others: Record<Exclude<Language, 'en'>, () => Promise<{ default: Messages }>> = {
  de: () => import('../messages/de.json'),
  fr: () => import('../messages/fr.json'),
};

export const language = $state({ value: 'en' as Language });
let messages = $state.raw<Messages>(english);

export function wanted(stored: string | null, offered: readonly string[]): Language {
  const known = (tag: string) => (Object.keys(LANGUAGES) as Language[]).find((name) => name === tag.toLowerCase().split('-')[0]);
  for (const tag of [stored ?? '', ...offered]) {
    const found = known(tag);
    if (found) return found;
  }
  return 'en';
}

export async function openLanguage(): Promise<void> {
  await speak(wanted(localStorage.getItem('skep.language'), navigator.languages));
}

export async function chooseLanguage(name: Language): Promise<void> {
  localStorage.setItem('skep.language', name);
  await speak(name);
}

async function speak(name: Language): Promise<void> {
  messages = name === 'en' ? english : (await others[name]()).default;
  language.value = name;
  document.documentElement.lang = name;
}

export function say(from: Messages, tag: string, key: string, fields: Record<string, string | number> = {}): string {
  let message = from[key] ?? (english as Messages)[key] ?? key;
  if (typeof message !== 'string') {
    const rule = new Intl.PluralRules(tag).select(Number(fields.n));
    message = message[rule] ?? message.other ?? key;
  }
  return message.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = fields[name];
    if (value === undefined) return whole;
    return typeof value === 'number' ? value.toLocaleString(tag) : value;
  });
}

export function t(key: Key, fields?: Record<string, string | number>): string {
  return say(messages, language.value, key, fields);
}

/** A message whose key is put together; the last part is left out where there is none for it. */
export function tAny(key: string, otherwise: string, fields?: Record<string, string | number>): string {
  return key in english ? t(key as Key, fields) : otherwise;
}
