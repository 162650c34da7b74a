// Every screen in three widths, light and dark: axe finds nothing, nothing sticks out, and a picture is kept to look at.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkScreen } from '../lib/accessibility.mjs';
import { addByTyping, answer, close, heading, listening, open } from '../lib/app.mjs';
import { authenticator } from '../lib/authenticator.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

const PICTURES = process.env.SCREENSHOTS ?? fileURLToPath(new URL('../../../target/screens/app', import.meta.url));
const WIDTHS = [
  [320, 640],
  [390, 844],
  [1280, 800],
];
/** English in all sizes; the others where they are most likely to go wrong. */
const RUNS = [
  { locale: 'en-GB', widths: WIDTHS, schemes: ['light', 'dark'] },
  { locale: 'de-DE', widths: WIDTHS.slice(0, 1), schemes: ['light'] },
  { locale: 'ar', widths: WIDTHS.slice(0, 2), schemes: ['dark'] },
];

describe('screens', () => {
  let server;
  before(async () => {
    await mkdir(PICTURES, { recursive: true });
    server = await startServer('[push]\ncontact = "mailto:mfa@countersign.dev"\n');
    await server.addResource('VPN Zürich', '--retries', 'collide');
  });
  after(() => server.close());

  for (const { locale, widths, schemes } of RUNS) {
    it(`in ${locale}`, async () => {
      const language = locale.slice(0, 2);
      const user = `ada-${language}`;
      await server.addUser(user, 'Ada Example');
      const browser = await startBrowser({ locale });
      const { page } = browser;
      const look = async (name) => {
        for (const colorScheme of schemes) {
          await page.emulateMedia({ colorScheme });
          for (const [width, height] of widths) {
            await page.setViewportSize({ width, height });
            await page.waitForTimeout(120);
            await checkScreen(page, `${name} ${locale} ${width} ${colorScheme}`);
            await page.screenshot({ path: join(PICTURES, `${name}-${language}-${width}-${colorScheme}.png`) });
          }
        }
      };
      try {
        const device = await authenticator(browser);
        for (const [path, name] of [
          ['/', 'empty'],
          ['/add', 'add'],
          ['/add/scan', 'scan'],
          ['/add/manual', 'manual'],
        ]) {
          await open(page, server, path);
          await page.waitForTimeout(300);
          await look(name);
        }
        const { qr } = await server.issue(user);
        await page.goto(qr);
        await page.locator('form .main').waitFor();
        await look('activate');
        await page.locator('form .main').click();
        await page.locator('.code').waitFor();
        await look('accounts');
        await listening(page);
        await page.locator('.account-link').click();
        await page.locator('.code.large').waitFor();
        await look('account');
        await page.locator('.confirm .button').click();
        await page.locator('.confirm .button:not([disabled])').waitFor();
        await look('account-verifies');
        await page.locator('.bar .round').click();

        const verdict = server.login(user, '--calling-station', '203.0.113.7');
        await page.locator('.answer').first().waitFor();
        await look('request');
        await page.locator('.answer.verify[aria-disabled="false"]').click();
        await page.locator('.result.good').waitFor();
        await verdict;
        await look('approved');
        await page.locator('.answers .main').click();

        await server.command('resource', 'set', 'VPN Zürich', '--user-verification', 'preferred');
        await device.finger(false);
        const second = server.login(user, '--calling-station', '203.0.113.7');
        await page.locator('.banner').waitFor();
        await look('request-after-approval');
        await page.locator('.answer.verify[aria-disabled="false"]').click();
        await page.locator('.problem:not([hidden])').waitFor();
        await look('request-not-verified');
        await server.command('resource', 'set', 'VPN Zürich', '--user-verification', 'off');
        await page.locator('.answer.deny[aria-disabled="false"]').click();
        await page.locator('.result.bad').waitFor();
        await second;
        await look('denied');
        await page.locator('.answers .main').click();

        const third = server.login(user, '--calling-station', '203.0.113.7');
        await page.locator('.answer').first().waitFor();
        const fourth = server.login(user, '--calling-station', '198.51.100.9');
        await page.locator('.result.bad').waitFor();
        await Promise.all([third, fourth]);
        await look('collision');
        await page.locator('.answers button').first().click();

        await page.locator('.account-link').click();
        await page.locator('.code.large').waitFor();
        await page.locator('.button.danger').first().click();
        await look('remove');
        await page.keyboard.press('Escape');
        await page.locator('a.choice').click();
        await page.locator('.history li').first().waitFor();
        await look('history');
      } finally {
        await browser.close();
      }
    });
  }
});
