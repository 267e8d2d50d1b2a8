// Files that somebody without an account puts into a drop box: over tus, two at a time, in the order that they were given.

import * as tus from 'tus-js-client';
import type { Drop } from './gather';

const AT_ONCE = 2;
const RETRIES_MS = [0, 1_000, 3_000, 10_000, 30_000];

export class Gift {
  state = $state<'waiting' | 'sending' | 'done' | 'failed'>('waiting');
  sent = $state(0);
  /** What the hive said, if it did not take it. */
  code = $state('');
  text = $state('');
  sender: tus.Upload | null = null;

  constructor(readonly id: number, readonly file: File, readonly path: string) {}
}

export class Gifts {
  list = $state.raw<Gift[]>([]);
  readonly busy = $derived(this.list.some((one) => one.state === 'sending' || one.state === 'waiting'));
  #next = 1;

  constructor(readonly token: string, readonly pass: () => string | null, readonly done: () => void) {}

  add(drop: Drop): void {
    this.list = [...this.list, ...drop.files.map(({ file, path }) => new Gift(this.#next++, file, path))];
    this.#pump();
  }

  retry(gift: Gift): void {
    gift.state = 'waiting';
    this.#pump();
  }

  leave(gift: Gift): void {
    this.list = this.list.filter((one) => one !== gift);
    void gift.sender?.abort(gift.state !== 'done').catch(() => {}); // what stays at the hive ends by itself
    this.#pump();
  }

  #pump(): void {
    let free = AT_ONCE - this.list.filter((one) => one.state === 'sending').length;
    for (const one of this.list) {
      if (free < 1) return;
      if (one.state !== 'waiting') continue;
      free -= 1;
      one.state = 'sending';
      (one.sender ??= this.#sender(one)).start();
    }
  }

  #sender(gift: Gift): tus.Upload {
    const headers: Record<string, string> = { 'Skep-Link': this.token };
    const pass = this.pass();
    if (pass) headers['Skep-Link-Pass'] = pass;
    const metadata: Record<string, string> = { path: `/${gift.path}` };
    if (gift.file.type) metadata.filetype = gift.file.type;
    if (gift.file.lastModified > 0) metadata.modified_us = String(gift.file.lastModified * 1000);
    return new tus.Upload(gift.file, {
      endpoint: '/tus/',
      headers,
      metadata,
      retryDelays: RETRIES_MS,
      storeFingerprintForResuming: false,
      onShouldRetry: (error) => {
        const code = error.originalResponse?.getStatus() ?? 0;
        return code === 0 || code === 409 || code === 423 || (code >= 500 && code !== 507);
      },
      onProgress: (sent) => (gift.sent = sent),
      onSuccess: () => this.#end(gift, 'done'),
      onError: (error) => this.#failed(gift, error),
    });
  }

  #failed(gift: Gift, error: Error | tus.DetailedError): void {
    const body = error instanceof tus.DetailedError ? error.originalResponse?.getBody() : '';
    try {
      const told = JSON.parse(body ?? '');
      [gift.code, gift.text] = [told.details?.reason ?? told.code, told.detail];
    } catch {
      [gift.code, gift.text] = ['offline', error.message];
    }
    this.#end(gift, 'failed');
  }

  #end(gift: Gift, state: 'done' | 'failed'): void {
    gift.state = state;
    // What broke off keeps its sender, which knows where the upload is: trying again goes on there.
    if (state === 'done') [gift.sent, gift.sender] = [gift.file.size, null];
    this.#pump();
    this.done();
  }
}
