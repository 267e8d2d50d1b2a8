import { describe, expect, it } from 'vitest';
import { createOptions, fromBase64, getOptions, toBase64 } from '../src/lib/webauthn';

describe('base64url', () => {
  it('goes there and back for every length and every byte', () => {
    for (let length = 0; length <= 256; length += 1) {
      const bytes = Uint8Array.from({ length }, (_, at) => (at * 7 + length) % 256);
      const text = toBase64(bytes.buffer);
      expect(text).toMatch(/^[\w-]*$/);
      expect([...fromBase64(text)]).toEqual([...bytes]);
    }
    expect([...fromBase64('-_8')]).toEqual([251, 255]);
  });
});

describe('options', () => {
  it('have buffers where browsers want them, and the rest as it came', () => {
    const made = createOptions({
      rp: { id: 'hive.example', name: 'Skep' }, pubKeyCredParams: [{ alg: -7, type: 'public-key' }], challenge: 'AQI',
      user: { id: 'Aw', name: 'ann', displayName: 'Ann' }, excludeCredentials: [{ id: 'BA', type: 'public-key' }],
    });
    expect(made.rp.id).toBe('hive.example');
    expect([...(made.challenge as Uint8Array)]).toEqual([1, 2]);
    expect([...(made.user.id as Uint8Array)]).toEqual([3]);
    expect([...(made.excludeCredentials![0].id as Uint8Array)]).toEqual([4]);
    expect(getOptions({ challenge: 'AQI' }).allowCredentials).toEqual([]);
  });
});
