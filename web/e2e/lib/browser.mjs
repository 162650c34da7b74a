// Debian's Chromium with a profile of its own.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** Values of Chromium's content settings. */
const PERMISSION = { granted: 1, denied: 2, ask: 3 };

/**
 * Starts Chromium. `film` is a .y4m for the camera; `camera` and `notifications` are what the person once chose.
 * The choice is written into the profile: what Playwright grants is lost at a restart, subscriptions with it.
 */
export async function startBrowser(options = {}) {
  const { film, camera = 'granted', notifications = 'ask', profile, args = [], ...context } = options;
  const folder = profile ?? (await mkdtemp(join(tmpdir(), 'countersign-chromium-')));
  await mkdir(join(folder, 'Default'), { recursive: true });
  if (profile === undefined) {
    const default_content_setting_values = { notifications: PERMISSION[notifications], media_stream_camera: PERMISSION[camera] };
    await writeFile(join(folder, 'Default', 'Preferences'), JSON.stringify({ profile: { default_content_setting_values } }));
  }
  const fake = film === undefined ? [] : [`--use-file-for-fake-video-capture=${film}`];
  const browser = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [...ARGS, '--use-fake-device-for-media-stream', ...fake, ...args],
    viewport: { width: 390, height: 844 },
    locale: 'en-GB',
    ...context,
  });
  browser.setDefaultTimeout(25_000);
  return {
    context: browser,
    page: browser.pages()[0] ?? (await browser.newPage()),
    profile: folder,
    /** Ends the browser and keeps its profile, as a phone that is switched off. */
    stop: () => browser.close(),
    async close() {
      await browser.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
