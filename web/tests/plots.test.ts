import { describe, expect, it } from 'vitest';
import { rates, sums, ticks } from '../src/lib/plots';

describe('ticks', () => {
  it('are few, even, and reach what is drawn', () => {
    for (const most of [0.003, 0.9, 1, 7, 99, 100, 101, 12_345, 7.7e12]) {
      const lines = ticks(most);
      expect(lines[0]).toBe(0);
      expect(lines.at(-1)!).toBeGreaterThanOrEqual(most * 0.999);
      expect(lines.length).toBeLessThanOrEqual(6);
    }
    expect(ticks(100)).toEqual([0, 50, 100]);
    expect(ticks(0)).toEqual([0, 1]);
    expect(ticks(Number.NaN)).toEqual([0, 1]);
  });
});

describe('samples', () => {
  it('of a counter make a rate, also over a restart', () => {
    expect(rates([[0, 100], [10_000, 200], [20_000, 30]])).toEqual([[10_000, 10], [20_000, 3]]);
    expect(rates([[0, 5]])).toEqual([]);
  });

  it('add up', () => {
    expect(sums([[1, 2], [2, 3]])).toEqual([[1, 2], [2, 5]]);
  });
});
