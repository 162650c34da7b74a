import { defineConfig } from 'vite';

export default defineConfig({
  build: {
    target: ['chrome111', 'firefox128', 'safari16.4'],
    // A data: URL would need a wider content security policy for scripts and styles.
    assetsInlineLimit: 0,
    // The polyfill is for browsers that cannot do what else the app needs.
    modulePreload: { polyfill: false },
    sourcemap: false,
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  test: { include: ['tests/**/*.test.ts'] },
} as Parameters<typeof defineConfig>[0]);
