import { describe, expect, it } from 'vitest';
import { crumbs, freeName, isWithin, join, nameFault, numbered, parent, shown, split } from '../src/lib/paths';
import { readRoute, writeRoute, type Route } from '../src/lib/route';

describe('paths', () => {
  it('go up and down', () => {
    expect(join('/', 'a')).toBe('/a');
    expect(join('/a', 'b/c')).toBe('/a/b/c');
    expect(parent('/a')).toBe('/');
    expect(parent('/a/b')).toBe('/a');
    expect(crumbs('/a/b').map((crumb) => crumb.path)).toEqual(['/a', '/a/b']);
    expect(isWithin('/ab', '/a')).toBe(false);
    expect(isWithin('/a/b', '/a')).toBe(true);
  });

  it('count up names that are taken', () => {
    expect(split('.profile')).toEqual(['.profile', '']);
    expect(numbered('a.tar.gz', 2)).toBe('a.tar (2).gz');
    expect(numbered('letter (2).txt', 3)).toBe('letter (3).txt');
    const taken = new Set(['a.txt', 'a (2).txt']);
    expect(freeName('a.txt', (name) => taken.has(name))).toBe('a (3).txt');
    expect(freeName('b', () => false)).toBe('b');
  });

  it('say what is wrong with a name', () => {
    expect(nameFault(' ')).toBe('empty');
    expect(nameFault('a/b')).toBe('slash');
    expect(nameFault('..')).toBe('dots');
    expect(nameFault('a\nb')).toBe('control');
    expect(nameFault('ä'.repeat(128))).toBe('long');
    expect(nameFault('ä'.repeat(127))).toBe(null);
  });

  it('show what would hide', () => {
    expect(shown('photo\u202egpj.exe')).toBe('photo\ufffdgpj.exe');
    expect(shown('שלום.txt')).toBe('שלום.txt');
  });
});

describe('routes', () => {
  it('come back as they went', () => {
    const routes: Route[] = [
      { view: 'files', space: '', path: '/' },
      { view: 'files', space: 'id', path: '/50% & more/#1/ü?' },
      { view: 'trash', space: '' },
      { view: 'account' },
    ];
    for (const route of routes) expect(readRoute(writeRoute(route))).toEqual(route);
  });

  it('lead home when they lead nowhere', () => {
    for (const hash of ['', '#', '#/none', '#/files/%E0%A4%A']) {
      expect(readRoute(hash)).toEqual({ view: 'files', space: '', path: '/' });
    }
  });
});
