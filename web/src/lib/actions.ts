// What a person does with entries, with what they are told and how it is taken back.

import { Problem } from './api';
import { clipboard, hold } from './clipboard.svelte';
import { folder } from './folder.svelte';
import * as files from './files';
import { t } from './i18n.svelte';
import { notices } from './notices.svelte';
import { isWithin, join, parent, shown } from './paths';
import type { Entry } from './types';

const AT_ONCE = 4;

/** Do something with each entry, a few at a time; what failed is told once. Returns those that went well. */
async function each(entries: readonly Entry[], work: (entry: Entry) => Promise<unknown>): Promise<Entry[]> {
  const [waiting, done, failures] = [[...entries], [] as Entry[], [] as unknown[]];
  const line = async () => {
    for (let entry = waiting.shift(); entry; entry = waiting.shift()) {
      try {
        await work(entry);
        done.push(entry);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, line));
  if (failures.length) notices.fail(failures[0]);
  return done;
}

function counted(key: 'trashed' | 'moved' | 'copied' | 'restored', entries: readonly Entry[]): string {
  return entries.length === 1
    ? t(`did.${key}.one`, { name: shown(entries[0].name) })
    : t(`did.${key}`, { n: entries.length });
}

export async function trash(entries: readonly Entry[]): Promise<void> {
  const done = await each(entries, (entry) => files.trash(entry.id));
  folder.drop(done.map((entry) => entry.id));
  if (!done.length) return;
  notices.tell(counted('trashed', done), async () => {
    for (const entry of done) await files.restore(entry.id);
    await folder.reload();
  });
}

export async function rename(entry: Entry, name: string): Promise<void> {
  const was = entry.name;
  if (name === was) return;
  try {
    folder.put(await files.rename(entry.id, name));
    notices.tell(t('did.renamed', { name: shown(was), to: shown(name) }), async () => {
      folder.put(await files.rename(entry.id, was));
    });
  } catch (error) {
    notices.fail(error);
  }
}

export async function move(entries: readonly Entry[], space: string, directory: string): Promise<void> {
  const moving = entries.filter((entry) => !(parent(entry.path) === directory && (folder.space || '') === space));
  if (moving.some((entry) => entry.kind === 'directory' && isWithin(directory, entry.path) && space === folder.space)) {
    notices.fail(new Problem(409, 'into-itself', ''));
    return;
  }
  const from = folder.space;
  const done = await each(moving, (entry) => files.move(entry.id, space, join(directory, entry.name)));
  await folder.reload();
  if (!done.length) return;
  notices.tell(counted('moved', done), async () => {
    for (const entry of done) await files.move(entry.id, from, entry.path);
    await folder.reload();
  });
}

export async function copy(entries: readonly Entry[], space: string, directory: string): Promise<void> {
  const made: Entry[] = [];
  const done = await each(entries, async (entry) => made.push(await files.copyBeside(entry, space, directory)));
  await folder.reload();
  if (!done.length) return;
  notices.tell(counted('copied', done), async () => {
    for (const entry of made) await files.trash(entry.id);
    await folder.reload();
  });
}

export async function paste(): Promise<void> {
  const { entries, cut } = clipboard;
  if (!entries.length) return;
  if (cut) {
    hold([], false);
    await move(entries, folder.space, folder.path);
  } else await copy(entries, folder.space, folder.path);
}

export async function makeFolder(name: string): Promise<void> {
  try {
    const made = await files.makeFolder(folder.space, join(folder.path, name));
    folder.put(made);
    folder.selectNamed(made.name);
    notices.tell(t('did.made', { name: shown(name) }), async () => {
      await files.trash(made.id);
      folder.drop([made.id]);
    });
  } catch (error) {
    notices.fail(error);
  }
}

export async function download(entries: readonly Entry[]): Promise<void> {
  try {
    await files.download(entries, folder.path === '/' ? 'files' : folder.path.slice(folder.path.lastIndexOf('/') + 1));
  } catch (error) {
    notices.fail(error);
  }
}
