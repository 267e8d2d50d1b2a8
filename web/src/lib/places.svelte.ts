// The spaces that a person has, and how full they are.

import { spaces } from './files';
import type { Space } from './types';

const PATIENCE_MS = 2_000;

class Places {
  list = $state.raw<Space[]>([]);
  #timer: ReturnType<typeof setTimeout> | undefined;

  async load(): Promise<void> {
    this.list = await spaces();
  }

  /** Something changed how full they are: look again, but not for every file of many. */
  stale(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.load().catch(() => {}); // the figure stays as it was until the next change
    }, PATIENCE_MS);
  }

  /** By the id in a place's address; the empty one is one's own. */
  of(id: string): Space | undefined {
    return this.list.find((space) => (id ? space.id === id : space.kind === 'personal'));
  }
}

export const places = new Places();
