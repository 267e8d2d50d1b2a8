// How fast bytes go, by what went in the last seconds.

export const WINDOW_MS = 6_000;

export class Meter {
  #marks: { at: number; bytes: number }[] = [];

  /** So many bytes have gone in all, at this time in milliseconds. */
  mark(bytes: number, at: number): void {
    const last = this.#marks.at(-1);
    if (last && at - last.at < 100) last.bytes = bytes;
    else this.#marks.push({ at, bytes });
    while (this.#marks.length > 2 && this.#marks[0].at < at - WINDOW_MS) this.#marks.shift();
  }

  forget(): void {
    this.#marks = [];
  }

  /** Bytes in a second; 0 while nothing can be said. */
  perSecond(now: number): number {
    const [first, last] = [this.#marks[0], this.#marks.at(-1)];
    if (!first || !last || last.bytes <= first.bytes) return 0;
    return ((last.bytes - first.bytes) * 1000) / Math.max(now - first.at, 500);
  }

  /** Seconds until `bytes` more have gone; null while nothing can be said. */
  left(bytes: number, now: number): number | null {
    const speed = this.perSecond(now);
    return speed > 0 ? Math.ceil(bytes / speed) : null;
  }
}
