// Small pictures of images, made by the browser out of the content, a few at a time, and kept for a while.

import { request } from './api';
import type { Entry } from './types';

export const FROM_BYTES_MAX = 8 << 20;
const KEPT_MAX = 300;
const AT_ONCE = 4;
const EDGE_PX = 320;

const kept = new Map<string, Promise<string | null>>();
let working = 0;
const waiting: (() => void)[] = [];

async function turn<T>(work: () => Promise<T>): Promise<T> {
  if (working >= AT_ONCE) await new Promise<void>((go) => waiting.push(go));
  working += 1;
  try {
    return await work();
  } finally {
    working -= 1;
    waiting.shift()?.();
  }
}

/** The address of a small picture; null where there can be none. */
export function thumb(entry: Entry): Promise<string | null> {
  const key = `${entry.id} ${entry.etag}`;
  const found = kept.get(key);
  if (found) return found;
  const made = turn(() => make(entry)).catch(() => null);
  kept.set(key, made);
  if (kept.size > KEPT_MAX) {
    const [oldest, address] = kept.entries().next().value!;
    kept.delete(oldest);
    void address.then((url) => url && URL.revokeObjectURL(url));
  }
  return made;
}

async function make(entry: Entry): Promise<string | null> {
  const content = await (await request('GET', `/api/filesystem/data/${entry.id}`)).blob();
  const full = await createImageBitmap(content);
  const scale = Math.min(1, EDGE_PX / Math.max(full.width, full.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(full.width * scale));
  canvas.height = Math.max(1, Math.round(full.height * scale));
  canvas.getContext('2d')!.drawImage(full, 0, 0, canvas.width, canvas.height);
  full.close();
  const small = await new Promise<Blob | null>((give) => canvas.toBlob(give, 'image/webp', 0.8));
  return small && URL.createObjectURL(small);
}
