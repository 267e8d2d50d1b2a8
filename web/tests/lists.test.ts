import { describe, expect, it } from 'vitest';
import { NOTHING, all, kept, pick, step } from '../src/lib/selection';
import { filtered, sorted } from '../src/lib/sorting';
import type { Entry } from '../src/lib/types';
import { scrollTo, windowOf } from '../src/lib/windowing';

const order = ['a', 'b', 'c', 'd', 'e'];
const ids = (selection: { ids: ReadonlySet<string> }) => [...selection.ids].sort().join('');

describe('selecting', () => {
  it('by clicks', () => {
    const b = pick(NOTHING, order, 'b');
    expect(ids(b)).toBe('b');
    expect(ids(pick(b, order, 'd', { range: true }))).toBe('bcd');
    expect(ids(pick(b, order, 'd', { toggle: true }))).toBe('bd');
    expect(ids(pick(b, order, 'b', { toggle: true }))).toBe('');
    const more = pick(pick(b, order, 'd', { toggle: true }), order, 'e', { range: true, toggle: true });
    expect(ids(more)).toBe('bde');
  });

  it('by keys, and back again', () => {
    let selection = step(NOTHING, order, 1);
    expect(ids(selection)).toBe('a');
    selection = step(selection, order, 2, { range: true });
    expect(ids(selection)).toBe('abc');
    selection = step(selection, order, -1, { range: true });
    expect(ids(selection)).toBe('ab');
    expect(ids(step(selection, order, 5))).toBe('e');
    expect(step(selection, order, 1, { toggle: true }).at).toBe('c');
    expect(step(NOTHING, [], 1)).toBe(NOTHING);
    expect(ids(step(NOTHING, order, -1))).toBe('e');
  });

  it('of what is still there', () => {
    const everything = all(order);
    expect(ids(kept(everything, ['b', 'x']))).toBe('b');
    expect(kept(everything, order)).toBe(everything);
    expect(kept(pick(NOTHING, order, 'c'), ['a']).at).toBe(null);
  });
});

const entry = (name: string, more: Partial<Entry> = {}): Entry => ({
  id: name, space_id: '', parent_id: null, name, extension: '', path: `/${name}`, kind: 'file', size_bytes: 0, etag: '', mime: '',
  version_number: 1, created_us: 0, modified_us: 0, tags: [], ...more,
});

describe('order', () => {
  it('is as people count, folders first', () => {
    const entries = [entry('10.txt'), entry('2.txt'), entry('z', { kind: 'directory' }), entry('Ärger.txt'), entry('b.txt')];
    const names = (column: 'name' | 'size', down = false) => sorted(entries, { column, down }).map((one) => one.name);
    expect(names('name')).toEqual(['z', '2.txt', '10.txt', 'Ärger.txt', 'b.txt']);
    expect(names('name', true)[0]).toBe('z');
    expect(names('size')).toEqual(['z', '2.txt', '10.txt', 'Ärger.txt', 'b.txt']);
  });

  it('of ten thousand is quick enough to type in', () => {
    const many = Array.from({ length: 10_000 }, (_, index) => entry(`file ${(index * 7919) % 10_000}.jpg`));
    const result = sorted(filtered(many, 'file'), { column: 'name', down: false });
    expect(result[2].name).toBe('file 2.jpg');
    expect(result.length).toBe(10_000);
  });

  it('leaves out what the words do not find', () => {
    const entries = [entry('Übung.txt'), entry('beach.jpg', { tags: ['holiday'] })];
    expect(filtered(entries, 'ubung')).toEqual([entries[0]]);
    expect(filtered(entries, '#holi JPG')).toEqual([entries[1]]);
    expect(filtered(entries, ' ')).toBe(entries);
  });
});

describe('the window', () => {
  it('has what is in sight and a little more', () => {
    expect(windowOf(10_000, 40, 4_000, 800, 5)).toEqual({ first: 95, end: 125, above: 3_800, height: 400_000 });
    expect(windowOf(3, 40, 999, 800)).toMatchObject({ first: 0, end: 3 });
    expect(windowOf(0, 40, 0, 800)).toMatchObject({ first: 0, end: 0, height: 0 });
  });

  it('moves no more than it must', () => {
    expect(scrollTo(2, 40, 0, 800)).toBe(0);
    expect(scrollTo(50, 40, 0, 800)).toBe(1240);
    expect(scrollTo(1, 40, 400, 800)).toBe(40);
  });
});
