// Paths and names as the hive has them: `/` between names, no name is empty, `.` or `..`.

export function join(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`;
}

export function parent(path: string): string {
  const cut = path.lastIndexOf('/');
  return cut <= 0 ? '/' : path.slice(0, cut);
}

export function base(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Whether `path` is `top` or below it. */
export function isWithin(path: string, top: string): boolean {
  return path === top || top === '/' || path.startsWith(`${top}/`);
}

export function crumbs(path: string): { name: string; path: string }[] {
  const names = path.split('/').filter(Boolean);
  return names.map((name, index) => ({ name, path: `/${names.slice(0, index + 1).join('/')}` }));
}

/** The name without its extension, and that with its dot. A name that only starts with a dot has none. */
export function split(name: string): [string, string] {
  const dot = name.lastIndexOf('.');
  return dot <= 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot)];
}

/** `letter (2).txt` for the second `letter.txt`; a number that is there is counted up. */
export function numbered(name: string, number: number): string {
  const [stem, extension] = split(name);
  const plain = stem.replace(/ \(\d{1,9}\)$/, '');
  return `${plain} (${number})${extension}`;
}

/** The first of `letter.txt`, `letter (2).txt` … that is not taken. */
export function freeName(name: string, taken: (name: string) => boolean): string {
  if (!taken(name)) return name;
  for (let number = 2; ; number += 1) {
    const other = numbered(name, number);
    if (!taken(other)) return other;
  }
}

export type NameFault = 'empty' | 'slash' | 'dots' | 'long' | 'control' | null;

/** What is wrong with a name that a person typed. The hive decides in the end; this says it while they type. */
export function nameFault(name: string): NameFault {
  if (!name.trim()) return 'empty';
  if (name.includes('/')) return 'slash';
  if (name === '.' || name === '..') return 'dots';
  if (/[\u0000-\u001f\u007f]/.test(name)) return 'control';
  if (new TextEncoder().encode(name).length > 255) return 'long';
  return null;
}

const HIDDEN = /[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u0000-\u001f\u007f-\u009f\ufeff]/g;

/**
 * A name as it can be shown: what would reverse the letters after it, or show nothing at all, becomes a visible mark.
 * `photo\u202egpj.exe` must not look like `photoexe.jpg`.
 */
export function shown(name: string): string {
  return name.replace(HIDDEN, '\ufffd');
}
