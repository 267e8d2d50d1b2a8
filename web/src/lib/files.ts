// What can be done with files and folders: each is one call of the API, or one for each entry.

import { address, call, Problem } from './api';
import { join, numbered } from './paths';
import type { Entry, Info, Space, Trashed } from './types';

const API = '/api/filesystem';
const PAGE = 2_000;
export const ENTRIES_MAX = 100_000;
export const ZIP_NODES_MAX = 400;

/** A folder page by page; `page` gets what came, and whether more follows. Returns the folder itself. */
export async function list(
  space: string, path: string, page: (entries: Entry[], more: boolean) => void, signal?: AbortSignal,
): Promise<Entry> {
  let [after, count] = [undefined as string | undefined, 0];
  for (;;) {
    const query = { path, space, depth: 1, limit: PAGE, after };
    const found = await call<Info>('GET', `${API}/info`, { query, signal });
    count += found.dirs.length + found.files.length;
    const more = Boolean(found.next) && count < ENTRIES_MAX;
    page([...found.dirs, ...found.files], Boolean(found.next));
    if (!more) return found.info;
    after = found.next;
  }
}

export const info = (id: string) => call<Info>('GET', `${API}/info/${id}`);
export const infoAt = (space: string, path: string, depth = 0) =>
  call<Info>('GET', `${API}/info`, { query: { path, space, depth } });
export const spaces = async () => (await call<{ spaces: Space[] }>('GET', `${API}/spaces`)).spaces;
export const makeFolder = (space: string, path: string, exist_ok = false) =>
  call<Entry>('POST', `${API}/mkdir`, { body: { path, space: space || null, exist_ok } });
export const rename = (id: string, name: string) => call<Entry>('POST', `${API}/info/${id}`, { body: { name } });
export const trash = (id: string) => call<void>('DELETE', `${API}/info/${id}`);

async function to(verb: 'move' | 'copy', id: string, space: string, path: string, overwrite: boolean): Promise<Entry> {
  return call<Entry>('POST', `${API}/${verb}`, { body: { id, to_path: path, to_space: space || null, overwrite } });
}
export const move = (id: string, space: string, path: string, overwrite = false) => to('move', id, space, path, overwrite);
export const copy = (id: string, space: string, path: string, overwrite = false) => to('copy', id, space, path, overwrite);

export async function exists(space: string, path: string): Promise<boolean> {
  try {
    await infoAt(space, path);
    return true;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return false;
    throw error;
  }
}

const TRIES_MAX = 200;

/** `copy`, under a name that is free there: `letter.txt`, `letter (2).txt` … */
export async function copyBeside(entry: Entry, space: string, directory: string): Promise<Entry> {
  for (let number = 1; ; number += 1) {
    const name = number > 1 ? numbered(entry.name, number) : entry.name;
    try {
      return await copy(entry.id, space, join(directory, name));
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'already-exists' || number > TRIES_MAX) throw error;
    }
  }
}

export const trashed = (space: string, after?: string) =>
  call<{ items: Trashed[]; next: string | null }>('GET', `${API}/trash`, { query: { space, after, limit: 1_000 } });
export const restore = (id: string, path?: string) =>
  call<Entry>('POST', `${API}/trash/${id}/restore`, { body: path ? { path } : {} });
export const purge = (id: string) => call<void>('DELETE', `${API}/trash/${id}`);
export const emptyTrash = (space: string) =>
  call<{ purged: number }>('DELETE', `${API}/trash`, { query: { space } });
export const restoreVersion = (id: string, number: number) =>
  call<Entry>('POST', `${API}/versions/${id}/${number}/restore`);

/** An address that the browser itself can read a content from, for as long as the login lasts. */
export async function contentAddress(entry: { id: string }, version?: number, download = false): Promise<string> {
  const { ticket } = await call<{ ticket: string }>('POST', `${API}/tickets`, { body: { nodes: [entry.id] } });
  return address(`${API}/data/${entry.id}${version ? `/${version}` : ''}`, { ticket, download: download || undefined });
}

/** Let the browser save a file, or several and folders as one zip. */
export async function download(entries: readonly Entry[], name: string, version?: number): Promise<void> {
  if (!entries.length) return;
  if (entries.length > ZIP_NODES_MAX) throw new Problem(413, 'too-many-at-once', '');
  let from: string;
  if (entries.length === 1 && entries[0].kind === 'file') from = await contentAddress(entries[0], version, true);
  else {
    const nodes = entries.map((entry) => entry.id);
    const { ticket } = await call<{ ticket: string }>('POST', `${API}/tickets`, { body: { nodes } });
    from = address(`${API}/zip`, { nodes: nodes.join(','), name: entries.length > 1 ? name : undefined, ticket });
  }
  const link = document.createElement('a');
  link.href = from;
  link.download = '';
  document.body.append(link);
  link.click();
  link.remove();
}
