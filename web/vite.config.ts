import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// The hive that `npm run dev` passes API calls on to.
const hive = process.env.SKEP_HIVE ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    outDir: '../src/skep/frontends/web/built',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    manifest: 'build.json',
  },
  server: { proxy: { '/api': { target: hive, ws: true }, '/tus': hive } },
});
