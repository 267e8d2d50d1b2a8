import { describe, expect, it } from 'vitest';
import { bytes, duration, look } from '../src/lib/format';
import { say, wanted, type Messages } from '../src/lib/i18n.svelte';
import { Meter } from '../src/lib/meter';
import de from '../src/messages/de.json';
import en from '../src/messages/en.json';
import fr from '../src/messages/fr.json';

const fields = (message: Messages[string]) => {
  const texts = typeof message === 'string' ? [message] : Object.values(message);
  return [...new Set(texts.flatMap((text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1])))].filter((name) => name !== 'n').sort();
};

describe.each([['de', de], ['fr', fr], ['en', en]] as [string, Messages][])('messages in %s', (tag, messages) => {
  it('are all there, with the same fields', () => {
    expect(Object.keys(messages).sort()).toEqual(Object.keys(en).sort());
    for (const [key, message] of Object.entries(en as Messages)) expect([key, fields(messages[key])]).toEqual([key, fields(message)]);
  });

  it('have every plural that the language has', () => {
    const rules = new Intl.PluralRules(tag).resolvedOptions().pluralCategories;
    for (const [key, message] of Object.entries(messages)) {
      if (typeof message !== 'string') expect([key, Object.keys(message).sort()]).toEqual([key, [...rules].sort()]);
    }
  });
});

describe('saying', () => {
  it('counts', () => {
    expect(say(en, 'en', 'count', { n: 1 })).toBe('1 entry');
    expect(say(en, 'en', 'count', { n: 12_345 })).toBe('12,345 entries');
    expect(say(fr as Messages, 'fr', 'count', { n: 0 })).toBe('0 élément');
    expect(say(de as Messages, 'de', 'nothing of this name')).toBe('nothing of this name');
  });

  it('chooses a language', () => {
    expect(wanted(null, ['pt', 'de-AT', 'en'])).toBe('de');
    expect(wanted('fr', ['de'])).toBe('fr');
    expect(wanted('xx', [])).toBe('en');
  });
});

describe('figures', () => {
  it('are short', () => {
    expect(bytes(0, 'en')).toBe('0\u00a0B');
    expect(bytes(999, 'en')).toBe('999\u00a0B');
    expect(bytes(1_500, 'en')).toBe('1.5\u00a0kB');
    expect(bytes(1_500, 'de')).toBe('1,5\u00a0kB');
    expect(bytes(999_999, 'en')).toBe('1.0\u00a0MB');
    expect(duration(59, 'en')).toBe('59 sec');
    expect(duration(3_700, 'en')).toBe('1 hr 2 min');
  });

  it('of speed forget what is long past', () => {
    const meter = new Meter();
    expect(meter.left(5, 0)).toBe(null);
    for (let second = 0; second <= 20; second += 1) meter.mark(second < 10 ? second * 1_000 : 10_000 + (second - 10) * 5_000, second * 1_000);
    expect(meter.perSecond(20_000)).toBeGreaterThan(4_500);
    expect(meter.left(50_000, 20_000)).toBeLessThanOrEqual(11);
  });
});

describe('looks', () => {
  it('never take a script for a picture', () => {
    expect(look({ kind: 'file', mime: 'image/svg+xml', name: 'a.svg' })).toBe('text');
    expect(look({ kind: 'file', mime: 'text/html', name: 'a.html' })).toBe('text');
    expect(look({ kind: 'file', mime: 'image/jpeg', name: 'a' })).toBe('image');
    expect(look({ kind: 'directory', mime: '', name: 'a.jpg' })).toBe('folder');
    expect(look({ kind: 'file', mime: 'application/octet-stream', name: 'a.zip' })).toBe('archive');
  });
});
