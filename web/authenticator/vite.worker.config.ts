// The service worker, built after the app: one script at a fixed path that knows all files of this build.

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const dist = fileURLToPath(new URL('dist', import.meta.url));

function filesIn(folder: string): string[] {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesIn(path) : [path]))
    .sort();
}

const files = filesIn(dist).filter((file) => !/(^|[\\/])sw\.js$|\.(br|gz)$/.test(file));
const build = createHash('sha256');
for (const file of files) build.update(relative(dist, file)).update(readFileSync(file));
const urls = files.map((file) => `/${relative(dist, file).split(sep).join('/')}`).map((url) => (url === '/index.html' ? '/' : url));

export default defineConfig({
  publicDir: false,
  define: { __FILES__: JSON.stringify(urls), __BUILD__: JSON.stringify(build.digest('hex').slice(0, 16)) },
  build: {
    target: ['chrome111', 'firefox128', 'safari16.4'],
    emptyOutDir: false,
    modulePreload: false,
    rollupOptions: {
      input: fileURLToPath(new URL('src/worker/sw.ts', import.meta.url)),
      output: { format: 'iife', entryFileNames: 'sw.js' },
    },
  },
});
