// Of links: their addresses, and when they end.

/** The whole address of a link; a hive that does not know its own says only the path. */
export function wholeAddress(url: string, origin: string): string {
  return url.startsWith('/') ? origin + url : url;
}

/** The end of a day that was picked (`2026-12-31`), in microseconds. */
export function endOfDay(day: string): number | null {
  const at = new Date(`${day}T23:59:59`).getTime();
  return day && Number.isFinite(at) ? at * 1000 : null;
}

/** The day of a time, as a field for dates takes it. */
export function dayOf(time_us: number | null): string {
  if (time_us === null) return '';
  const at = new Date(time_us / 1000);
  const two = (part: number) => String(part).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

export function hasEnded(link: { expires_us: number | null; downloads: number; downloads_max: number | null }, now_us: number): boolean {
  const usedUp = link.downloads_max !== null && link.downloads >= link.downloads_max;
  return usedUp || (link.expires_us !== null && link.expires_us <= now_us);
}
