// The pure part of plots: lines to draw, and what samples make of counters.

export interface Series {
  name: string;
  /** Time in milliseconds, value; by time. */
  points: [number, number][];
}

/** Up to five even values from 0 to at least `most`: 1, 2 or 5 times a power of ten apart. */
export function ticks(most: number): number[] {
  if (!(most > 0) || !Number.isFinite(most)) return [0, 1];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((part) => part * power).find((size) => size >= rough * 0.999)!;
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}

/** A counter's growth per second between samples; a counter that went back began anew. */
export function rates(points: [number, number][]): [number, number][] {
  return points.slice(1).map(([time, value], index) => {
    const [before, old] = points[index];
    const grown = value < old ? value : value - old;
    return [time, grown / Math.max((time - before) / 1000, 1e-3)];
  });
}

/** Sums up to and including each point. */
export function sums(points: [number, number][]): [number, number][] {
  let sum = 0;
  return points.map(([time, value]) => [time, (sum += value)]);
}
