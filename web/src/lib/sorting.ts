import type { Entry } from './types';

export type Column = 'name' | 'size' | 'modified' | 'kind';
export interface Order {
  column: Column;
  down: boolean;
}

const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

/** Folders first, then by the column, then by name as people count: `2` before `10`. */
export function sorted(entries: readonly Entry[], { column, down }: Order): Entry[] {
  const sign = down ? -1 : 1;
  const name = (a: Entry, b: Entry) => byName.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);
  const value: Record<Column, (a: Entry, b: Entry) => number> = {
    name,
    size: (a, b) => a.size_bytes - b.size_bytes,
    modified: (a, b) => a.modified_us - b.modified_us,
    kind: (a, b) => byName.compare(a.extension, b.extension),
  };
  return [...entries].sort((a, b) => {
    if (a.kind !== b.kind) return a.kind === 'directory' ? -1 : 1;
    return sign * value[column](a, b) || name(a, b);
  });
}

const folded = (text: string) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();

/** Those whose names or tags have all of the words, whatever their case and accents. */
export function filtered(entries: readonly Entry[], text: string): readonly Entry[] {
  const words = folded(text).split(/\s+/).filter(Boolean);
  if (!words.length) return entries;
  return entries.filter((entry) => {
    const name = folded([entry.name, ...entry.tags.map((tag) => `#${tag}`)].join(' '));
    return words.every((word) => name.includes(word));
  });
}
