// Numbers and times as people read them, in their language.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

export function bytes(count: number, tag: string): string {
  let [value, unit] = [count, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit && value < 9.95 ? 1 : 0;
  return `${value.toLocaleString(tag, { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u00a0${UNITS[unit]}`;
}

export function when(time_us: number, tag: string, now = Date.now()): string {
  const at = new Date(time_us / 1000);
  const today = new Date(now).toDateString() === at.toDateString();
  if (today) return at.toLocaleTimeString(tag, { hour: '2-digit', minute: '2-digit' });
  return at.toLocaleDateString(tag, { day: 'numeric', month: 'short', year: 'numeric' });
}

export function exactly(time_us: number, tag: string): string {
  return new Date(time_us / 1000).toLocaleString(tag, { dateStyle: 'full', timeStyle: 'medium' });
}

export function duration(seconds: number, tag: string): string {
  const part = (value: number, unit: string) =>
    value.toLocaleString(tag, { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits: 0 });
  if (seconds < 60) return part(Math.max(1, Math.round(seconds)), 'second');
  if (seconds < 3600) return part(Math.round(seconds / 60), 'minute');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.round((seconds - hours * 3600) / 60);
  return minutes ? `${part(hours, 'hour')} ${part(minutes, 'minute')}` : part(hours, 'hour');
}

export type Look = 'folder' | 'image' | 'video' | 'audio' | 'pdf' | 'text' | 'archive' | 'file';

const TEXT = /\.(txt|md|csv|log|json|xml|ya?ml|toml|ini|conf|sh|py|js|ts|css|html?|c|h|cpp|rs|go|java|rb|sql|svg|tex)$/i;
const PACKED = /\.(zip|tar|gz|tgz|bz2|xz|zst|7z|rar)$/i;

/** What kind of picture stands for an entry, and how it can be looked into. */
export function look(entry: { kind: string; mime: string; name: string }): Look {
  if (entry.kind === 'directory') return 'folder';
  if (/^image\/(png|jpeg|gif|webp|avif|bmp)\b/.test(entry.mime)) return 'image';
  if (entry.mime.startsWith('video/')) return 'video';
  if (entry.mime.startsWith('audio/')) return 'audio';
  if (entry.mime === 'application/pdf') return 'pdf';
  if (entry.mime.startsWith('text/') || TEXT.test(entry.name)) return 'text';
  return PACKED.test(entry.name) ? 'archive' : 'file';
}
