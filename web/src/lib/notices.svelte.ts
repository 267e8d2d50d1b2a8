// What the page tells in passing, and what can be taken back.

import { Problem } from './api';
import { t, tAny } from './i18n.svelte';

export interface Notice {
  id: number;
  text: string;
  bad: boolean;
  undo?: () => Promise<void>;
}

const SHOWN_MS = 8_000;
const BACK_MAX = 50;

class Notices {
  list = $state.raw<Notice[]>([]);
  #next = 1;
  #back: Notice[] = [];

  tell(text: string, undo?: () => Promise<void>): void {
    this.#show({ id: this.#next++, text, bad: false, undo });
  }

  fail(error: unknown): void {
    this.#show({ id: this.#next++, text: sentence(error), bad: true });
  }

  #show(notice: Notice): void {
    this.list = [...this.list.slice(-2), notice];
    if (notice.undo) this.#back = [...this.#back.slice(1 - BACK_MAX), notice];
    setTimeout(() => this.close(notice.id), notice.bad ? 2 * SHOWN_MS : SHOWN_MS);
  }

  close(id: number): void {
    this.list = this.list.filter((notice) => notice.id !== id);
  }

  /** Take the last thing back, or this one. */
  async undo(notice: Notice | undefined = this.#back.at(-1)): Promise<void> {
    if (!notice?.undo) return;
    this.#back = this.#back.filter((other) => other !== notice);
    this.close(notice.id);
    try {
      await notice.undo();
      this.tell(t('undo.done'));
    } catch (error) {
      this.fail(error);
    }
  }
}

/** A failure as a sentence: by its code what the place says, or the page for what people meet often, else the hive's. */
export function sentence(error: unknown, here: Record<string, string> = {}): string {
  if (error instanceof Problem && here[error.code]) return here[error.code];
  if (error instanceof Problem) return tAny(`problem.${error.code}`, error.message || error.code);
  return error instanceof Error ? error.message : String(error);
}

export const notices = new Notices();
