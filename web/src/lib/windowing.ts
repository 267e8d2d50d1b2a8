// Which rows of a long list are made: those in sight and a few around them.

export interface Window {
  first: number;
  end: number;
  /** Pixels above the first row. */
  above: number;
  /** Of the whole list. */
  height: number;
}

export function windowOf(rows: number, rowHeight: number, scrolled: number, viewport: number, around = 8): Window {
  const height = rows * rowHeight;
  const top = Math.max(0, Math.min(scrolled, Math.max(0, height - viewport)));
  const first = Math.max(0, Math.floor(top / rowHeight) - around);
  const end = Math.min(rows, Math.ceil((top + viewport) / rowHeight) + around);
  return { first, end, above: first * rowHeight, height };
}

/** Where to scroll so that a row is in sight; the same place if it is already. */
export function scrollTo(row: number, rowHeight: number, scrolled: number, viewport: number): number {
  const [top, bottom] = [row * rowHeight, (row + 1) * rowHeight];
  if (top < scrolled) return top;
  return bottom > scrolled + viewport ? bottom - viewport : scrolled;
}
