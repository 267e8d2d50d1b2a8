// Entries that were cut or copied in the page, until they are pasted.

import type { Entry } from './types';

export const clipboard = $state({ entries: [] as Entry[], cut: false });

export function hold(entries: readonly Entry[], cut: boolean): void {
  clipboard.entries = [...entries];
  clipboard.cut = cut;
}
