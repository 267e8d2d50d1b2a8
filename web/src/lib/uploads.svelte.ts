// Uploads: a queue of files, a few of which are sent at once over tus (docs/uploads.md). What was sent stays sent: a lost
// network, an ended session or a closed page only make an upload wait.

import * as tus from 'tus-js-client';
import { call } from './api';
import { makeFolder } from './files';
import type { Drop } from './gather';
import { Meter } from './meter';
import { base, join, numbered, parent } from './paths';
import { session } from './session.svelte';

export type State = 'waiting' | 'sending' | 'asking' | 'paused' | 'done' | 'failed' | 'skipped';
export type Answer = 'replace' | 'keep' | 'skip';

const AT_ONCE = 3;
const RESUMED_FROM_BYTES = 4 << 20;
const RETRIES_MS = [0, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 30_000, 30_000, 60_000, 60_000, 60_000];
const PREFIX = 'skep';

/** Files that were given at once: what is there already is asked for once. */
class Batch {
  answer = $state<Answer | null>(null);
}

export class Upload {
  state = $state<State>('waiting');
  sent = $state(0);
  error = $state.raw<unknown>(null);
  path: string;
  tries = 1;
  sender: tus.Upload | null = null;
  readonly size: number;

  constructor(readonly id: number, readonly file: File, readonly space: string, path: string, readonly batch: Batch) {
    this.path = path;
    this.size = file.size;
  }

  get name(): string {
    return base(this.path);
  }
}

/** An upload of an earlier page, whose file has to be chosen again. */
export interface Unfinished {
  key: string;
  name: string;
  path: string;
  space: string;
  size: number;
  modified: number;
}

function status(error: unknown): number {
  return error instanceof tus.DetailedError ? (error.originalResponse?.getStatus() ?? 0) : -1;
}

function detail(error: unknown): { code: string; text: string } {
  const body = error instanceof tus.DetailedError ? error.originalResponse?.getBody() : '';
  try {
    const told = JSON.parse(body ?? '');
    return { code: told.code ?? 'unknown', text: told.detail ?? '' };
  } catch {
    return { code: status(error) === 0 ? 'offline' : 'unknown', text: String((error as Error)?.message ?? error) };
  }
}

class Uploads {
  list = $state.raw<Upload[]>([]);
  unfinished = $state.raw<Unfinished[]>([]);
  paused = $state(false);
  online = $state(navigator.onLine);
  /** Told after each upload, so that lists can be refreshed. */
  onDone: (upload: Upload) => void = () => {};
  live = $derived(this.list.filter((one) => !['done', 'skipped', 'failed'].includes(one.state)));
  asking = $derived(this.list.filter((one) => one.state === 'asking'));
  total = $derived(this.list.reduce((sum, one) => sum + (one.state === 'skipped' ? 0 : one.size), 0));
  sent = $derived(this.list.reduce((sum, one) => sum + one.sent, 0));
  speed = $state(0);
  left = $state<number | null>(null);
  #meter = new Meter();
  #next = 1;
  #ticking: ReturnType<typeof setInterval> | null = null;

  constructor() {
    addEventListener('online', () => {
      this.online = true;
      this.#pump();
    });
    addEventListener('offline', () => {
      this.online = false;
      this.#halt();
    });
    addEventListener('beforeunload', (event) => {
      if (this.live.length) event.preventDefault();
    });
  }

  async add(drop: Drop, space: string, directory: string): Promise<void> {
    const batch = new Batch();
    const added = drop.files.map(
      ({ file, path }) => new Upload(this.#next++, file, space, join(directory, path), batch),
    );
    this.list = [...this.list, ...added];
    this.#tick();
    this.#pump();
    for (const folder of drop.folders) await makeFolder(space, join(directory, folder), true);
  }

  /** A file that was chosen again for an upload of an earlier page. Returns whether it is that file. */
  again(old: Unfinished, file: File): boolean {
    if (file.size !== old.size || file.name !== old.name) return false;
    const batch = new Batch();
    this.list = [...this.list, new Upload(this.#next++, file, old.space, old.path, batch)];
    this.unfinished = this.unfinished.filter((one) => one.key !== old.key);
    this.#tick();
    this.#pump();
    return true;
  }

  /** Let go of an upload of an earlier page, here and at the hive. */
  async forget(old: Unfinished): Promise<void> {
    this.unfinished = this.unfinished.filter((one) => one.key !== old.key);
    const url = (await tus.defaultOptions.urlStorage.findAllUploads()).find((one) => one.urlStorageKey === old.key)?.uploadUrl;
    await tus.defaultOptions.urlStorage.removeUpload(old.key);
    if (url) await call('DELETE', new URL(url, location.href).pathname, { headers: { 'tus-resumable': '1.0.0' } });
  }

  /** Uploads that an earlier page left. */
  async findUnfinished(): Promise<void> {
    const found = await tus.defaultOptions.urlStorage.findAllUploads();
    this.unfinished = found.flatMap((one) => {
      const { user, path, space, modified } = one.metadata as Record<string, string>;
      if (user !== session.me?.id || !path) return [];
      if (this.list.some((other) => other.path === path && other.space === space)) return [];
      const [key, size] = [one.urlStorageKey, one.size ?? 0];
      return [{ key, name: base(path), path, space, size, modified: Number(modified) }];
    });
  }

  pauseAll(): void {
    this.paused = true;
    this.#halt();
  }

  resumeAll(): void {
    this.paused = false;
    for (const one of this.list) if (one.state === 'paused') one.state = 'waiting';
    this.#tick();
    this.#pump();
  }

  pause(upload: Upload): void {
    void upload.sender?.abort();
    upload.state = 'paused';
    this.#pump();
  }

  resume(upload: Upload): void {
    upload.state = 'waiting';
    this.paused = false;
    this.#tick();
    this.#pump();
  }

  retry(upload: Upload): void {
    upload.error = null;
    this.resume(upload);
  }

  async cancel(upload: Upload): Promise<void> {
    this.list = this.list.filter((one) => one !== upload);
    const sender = upload.sender;
    this.#pump();
    await sender?.abort(true).catch(() => {}); // what stays at the hive ends by itself
  }

  async cancelAll(): Promise<void> {
    await Promise.all(this.live.map((one) => this.cancel(one)));
  }

  /** What is to be done with files that are there already. `all`: with those of the batch that come to it later, too. */
  answer(answer: Answer, all: boolean): void {
    const asking = all ? this.asking : this.asking.slice(0, 1);
    for (const one of asking) {
      if (all) one.batch.answer = answer;
      this.#settle(one, answer);
    }
    this.#pump();
  }

  clear(): void {
    this.list = this.live;
    this.#meter.forget();
  }

  #settle(upload: Upload, answer: Answer): void {
    if (answer === 'skip') upload.state = 'skipped';
    else {
      if (answer === 'keep') {
        upload.tries += 1;
        upload.path = join(parent(upload.path), numbered(upload.name, upload.tries));
      }
      upload.sender = null;
      upload.sent = 0;
      this.#replacing.set(upload, answer === 'replace');
      upload.state = 'waiting';
    }
  }

  #replacing = new WeakMap<Upload, boolean>();

  #halt(): void {
    for (const one of this.list) {
      if (one.state !== 'sending') continue;
      void one.sender?.abort();
      one.state = this.paused ? 'paused' : 'waiting';
    }
    if (this.paused) for (const one of this.list) if (one.state === 'waiting') one.state = 'paused';
    this.#meter.forget();
  }

  #pump(): void {
    if (this.paused || !this.online) return;
    let free = AT_ONCE - this.list.filter((one) => one.state === 'sending').length;
    for (const one of this.list) {
      if (free < 1) return;
      if (one.state !== 'waiting') continue;
      free -= 1;
      one.state = 'sending';
      void this.#send(one);
    }
  }

  async #send(upload: Upload): Promise<void> {
    const sender = (upload.sender ??= this.#sender(upload));
    if (!sender.url && upload.size >= RESUMED_FROM_BYTES) {
      const before = (await sender.findPreviousUploads())[0];
      if (before && upload.state === 'sending') sender.resumeFromPreviousUpload(before);
    }
    if (upload.state === 'sending') sender.start();
  }

  #sender(upload: Upload): tus.Upload {
    const { file, space, path, size } = upload;
    const modified = file.lastModified;
    const replace = this.#replacing.get(upload) ?? upload.batch.answer === 'replace';
    const who = session.me?.id ?? '';
    const metadata: Record<string, string> = { path, user: who, space, modified: String(modified) };
    if (!space) delete metadata.space;
    if (file.type) metadata.filetype = file.type;
    if (modified > 0) metadata.modified_us = String(modified * 1000);
    return new tus.Upload(file, {
      endpoint: '/tus/',
      metadata,
      retryDelays: RETRIES_MS,
      uploadDataDuringCreation: size < RESUMED_FROM_BYTES,
      storeFingerprintForResuming: size >= RESUMED_FROM_BYTES,
      removeFingerprintOnSuccess: true,
      fingerprint: async () => [PREFIX, who, space, path, size, modified].join('|'),
      onBeforeRequest: async (request) => {
        request.setHeader('Authorization', `Bearer ${await session.token()}`);
        if (request.getMethod() === 'POST' && !replace) request.setHeader('If-None-Match', '*');
      },
      onShouldRetry: (error) => {
        const code = status(error);
        if (code === 401) void session.token(this.#shown(error)).catch(() => {});
        return code === 0 || code === 401 || code === 409 || code === 423 || code === 429 || code >= 500 && code !== 507;
      },
      onProgress: (sent) => (upload.sent = sent),
      onSuccess: () => this.#done(upload),
      onError: (error) => this.#failed(upload, error),
    });
  }

  #shown(error: tus.DetailedError | Error): string | null {
    const header = error instanceof tus.DetailedError ? error.originalRequest?.getHeader('Authorization') : undefined;
    return header?.replace('Bearer ', '') ?? null;
  }

  #done(upload: Upload): void {
    upload.sent = upload.size;
    upload.state = 'done';
    upload.sender = null;
    this.onDone(upload);
    this.#pump();
  }

  #failed(upload: Upload, error: unknown): void {
    if (upload.state !== 'sending') return;
    if (status(error) === 412) {
      upload.state = 'asking';
      upload.sender = null;
      upload.sent = 0;
      const answer = upload.batch.answer;
      const again = upload.tries < 100;
      if (answer && again) this.#settle(upload, answer);
    } else {
      upload.state = 'failed';
      upload.error = detail(error);
    }
    this.#pump();
  }

  #tick(): void {
    this.#ticking ??= setInterval(() => {
      const now = performance.now();
      this.#meter.mark(this.sent, now);
      this.speed = this.#meter.perSecond(now);
      this.left = this.#meter.left(this.total - this.sent, now);
      if (!this.live.length && this.#ticking) {
        clearInterval(this.#ticking);
        this.#ticking = null;
        this.speed = 0;
      }
    }, 500);
  }
}

export const uploads = new Uploads();
