// Files out of what was dropped, pasted or picked, with their places in the folders that came along.

export interface Gathered {
  file: File;
  /** `Holiday/day 1/beach.jpg`; of a lone file its name. */
  path: string;
}

export interface Drop {
  files: Gathered[];
  /** Folders, the empty ones too. */
  folders: string[];
}

export const GATHERED_MAX = 100_000;

export class TooMany extends Error {}

export function picked(list: Iterable<File>): Drop {
  const files = [...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  return { files, folders: [] };
}

/** What a drop or paste brings. Must be called in its event: the browser forgets the items afterwards. */
export async function gather(data: DataTransfer): Promise<Drop> {
  const entries = [...data.items].filter((item) => item.kind === 'file').map((item) => item.webkitGetAsEntry());
  if (!entries.some((entry) => entry)) return picked(data.files);
  const drop: Drop = { files: [], folders: [] };
  for (const entry of entries) if (entry) await walk(entry, '', drop);
  return drop;
}

async function walk(entry: FileSystemEntry, above: string, drop: Drop): Promise<void> {
  const path = above + entry.name;
  if (drop.files.length + drop.folders.length >= GATHERED_MAX) throw new TooMany();
  if (entry.isFile) {
    const file = await new Promise<File>((give, fail) => (entry as FileSystemFileEntry).file(give, fail));
    drop.files.push({ file, path });
    return;
  }
  drop.folders.push(path);
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((give, fail) => reader.readEntries(give, fail));
    if (!some.length) return;
    for (const one of some) await walk(one, `${path}/`, drop);
  }
}
