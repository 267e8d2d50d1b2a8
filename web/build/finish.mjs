// After the build: compressed twins of what compresses, and the size of the first load told.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const built = new URL('../../src/skep/frontends/web/built/', import.meta.url).pathname;
for (const name of readdirSync(built, { recursive: true })) {
  if (!/\.(js|css|html|svg|webmanifest)$/.test(name)) continue;
  const body = readFileSync(join(built, name));
  if (body.length < 512) continue;
  writeFileSync(join(built, `${name}.gz`), gzipSync(body, { level: 9 }));
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  writeFileSync(join(built, `${name}.br`), brotliCompressSync(body, quality));
}
const made = JSON.parse(readFileSync(join(built, 'build.json'), 'utf8'));
const entry = made['index.html'];
const seen = new Set();
const visit = (key) => {
  if (seen.has(key)) return;
  seen.add(key);
  (made[key].imports ?? []).forEach(visit);
};
visit('index.html');
const script = [...seen].reduce((sum, key) => sum + gzipSync(readFileSync(join(built, made[key].file))).length, 0);
writeFileSync(join(built, 'size.json'), JSON.stringify({ entry: entry.file, first_load_script_gzip_bytes: script }));
rmSync(join(built, 'build.json'));
console.log(`first load: ${(script / 1000).toFixed(1)} kB of script, compressed`);
