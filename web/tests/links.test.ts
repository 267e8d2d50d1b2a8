import { describe, expect, it } from 'vitest';
import { dayOf, endOfDay, hasEnded, wholeAddress } from '../src/lib/ends';
import { readRoute, writeRoute } from '../src/lib/route';

describe('the address of a link', () => {
  it('is whole where the hive knows only a path', () => {
    expect(wholeAddress('/l/skn_a', 'https://hive.example')).toBe('https://hive.example/l/skn_a');
    expect(wholeAddress('https://other.example/l/skn_a', 'https://hive.example')).toBe('https://other.example/l/skn_a');
  });

  it('is a place of the page, with its folders', () => {
    expect(readRoute('#/l/skn_a')).toEqual({ view: 'link', token: 'skn_a', path: '/' });
    const deep = { view: 'link', token: 'skn_a', path: '/day one/100% #1' } as const;
    expect(readRoute(writeRoute(deep))).toEqual(deep);
    expect(readRoute('#/l')).toEqual({ view: 'files', space: '', path: '/' });
  });
});

describe('the end of a link', () => {
  it('is the last moment of the day that was picked', () => {
    const end = endOfDay('2026-12-31')!;
    expect(new Date(end / 1000).getDate()).toBe(31);
    expect(new Date(end / 1000 + 1_000).getFullYear()).toBe(2027);
    expect(dayOf(end)).toBe('2026-12-31');
    expect([endOfDay(''), endOfDay('nonsense'), dayOf(null)]).toEqual([null, null, '']);
  });

  it('comes with its time, or with its last download', () => {
    const link = { expires_us: 10, downloads: 1, downloads_max: 2 };
    expect([hasEnded(link, 9), hasEnded(link, 10)]).toEqual([false, true]);
    expect(hasEnded({ ...link, downloads: 2 }, 9)).toBe(true);
    expect(hasEnded({ expires_us: null, downloads: 99, downloads_max: null }, 9)).toBe(false);
  });
});
