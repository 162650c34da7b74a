// Sign-ins with a code from the phone, and with a number typed into it: the app before a real server and a real prompt.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkScreen } from '../lib/accessibility.mjs';
import { addByTyping, answer, close, heading, listening, open } from '../lib/app.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

const PICTURES = process.env.SCREENSHOTS ?? fileURLToPath(new URL('../../../target/screens/app', import.meta.url));
const QUESTION = 'Is this you signing in?';
const SIZES = [
  [320, 640],
  [390, 844],
  [1280, 800],
];

describe('a sign-in with a prompt', () => {
  let server;
  let browser;
  let page;
  let user;
  let people = 0;
  before(async () => {
    await mkdir(PICTURES, { recursive: true });
    server = await startServer();
    await server.addResource('VPN Zürich', '--prompt', 'code-to-phone', '--answer-by', '5');
  });
  after(() => server.close());
  beforeEach(async () => {
    people += 1;
    user = `user${people}`;
    await server.addUser(user, 'Ada Example');
    browser = await startBrowser();
    page = browser.page;
    await open(page, server);
    await addByTyping(page, server, user);
    await listening(page);
  });
  afterEach(() => browser.close());

  async function ways(way) {
    await server.command('resource', 'set', 'VPN Zürich', '--prompt', way);
  }

  async function asked() {
    const { result, state, messages } = await server.prompted(user);
    assert.equal(result, 'challenge');
    await heading(page, QUESTION);
    return { state, message: messages.join(' ') };
  }

  async function look(name) {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const [width, height] of SIZES) {
        await page.setViewportSize({ width, height });
        await page.waitForTimeout(120);
        await checkScreen(page, `${name} ${width} ${colorScheme}`);
        await page.screenshot({ path: join(PICTURES, `${name}-en-${width}-${colorScheme}.png`) });
      }
    }
  }

  /** What the app shows to be typed at the prompt. */
  async function code() {
    const digits = await page.locator('.request .code .digits').textContent();
    return digits.replaceAll(/\D/g, '');
  }

  const numberIn = (message) => message.replaceAll(/\D/g, '');
  const wrong = (digits) => String((Number(digits) + 1) % 1_000_000).padStart(6, '0');

  it('shows a code, and is let in when that is typed at the prompt', async () => {
    await ways('code-to-phone');
    const { state, message } = await asked();
    assert.match(message, /six digits/);
    await look('prompt-request');
    await answer(page, 'Show code');
    await page.locator('.request .code').waitFor();
    await look('prompt-code');
    const first = await server.prompted(user, wrong(await code()), state);
    assert.equal(first.result, 'challenge', 'one wrong code is forgiven');
    const second = await server.prompted(user, await code(), first.state);
    assert.equal(second.result, 'accepted');
    await heading(page, 'Approved');
    await close(page);
    await heading(page, 'Accounts');
  });

  it('is denied while its code is shown', async () => {
    await ways('code-to-phone');
    const { state } = await asked();
    await answer(page, 'Show code');
    await page.locator('.request .code').waitFor();
    const shown = await code();
    await answer(page, 'Deny');
    await heading(page, 'Denied');
    assert.equal((await server.prompted(user, shown, state)).result, 'rejected');
  });

  it('shows its code again when the answer was lost', async () => {
    await ways('code-to-phone');
    await asked();
    let lost = 0;
    await browser.context.route('**/decision', async (route) => {
      if (lost > 0) return route.continue();
      lost += 1;
      await route.fetch();
      return route.abort();
    });
    await answer(page, 'Show code');
    await page.locator('.request .code').waitFor();
    assert.equal(lost, 1);
    assert.match(await code(), /^\d{6}$/);
  });

  it('ends with two wrong codes, and the app says so', async () => {
    await ways('code-to-phone');
    const { state } = await asked();
    await answer(page, 'Show code');
    await page.locator('.request .code').waitFor();
    const other = wrong(await code());
    const again = await server.prompted(user, other, state);
    assert.equal((await server.prompted(user, other, again.state)).result, 'rejected');
    await heading(page, 'Denied');
  });

  it('takes the number that the prompt shows, before or after it was answered', async () => {
    await ways('typed');
    const { state, message } = await asked();
    await look('prompt-number');
    await answer(page, 'Verify');
    await page.getByText(/number/i).first().waitFor();
    assert.equal(await page.locator('.number input').getAttribute('aria-invalid'), 'true', 'without it nothing is sent');
    // As the prompt groups it.
    await page.locator('.number input').fill(message.match(/\d{3} \d{3}/)[0]);
    await answer(page, 'Verify');
    await heading(page, 'Approved');
    assert.equal((await server.prompted(user, 'x', state)).result, 'accepted');
    await close(page);

    const second = await asked();
    const waits = server.prompted(user, 'x', second.state);
    await page.locator('.number input').fill(numberIn(second.message));
    await answer(page, 'Verify');
    assert.equal((await waits).result, 'accepted');
    await heading(page, 'Approved');
  });

  it('s06 ends with a wrong number', async () => {
    await ways('typed');
    const { state, message } = await asked();
    await page.locator('.number input').fill(wrong(numberIn(message)));
    await answer(page, 'Verify');
    await heading(page, 'Denied');
    await look('prompt-number-wrong');
    assert.equal((await server.prompted(user, 'x', state)).result, 'rejected');
  });

  it('s05 shows the number nowhere in the app', async () => {
    await ways('typed');
    const seen = [];
    page.on('response', async (response) => seen.push(await response.text().catch(() => '')));
    const { message } = await asked();
    const digits = numberIn(message);
    await page.waitForTimeout(500);
    for (const text of [await page.content(), ...seen]) {
      assert.ok(!text.includes(digits) && !text.includes(message.match(/\d{3} \d{3}/)[0]));
    }
    await answer(page, 'Deny');
  });
});
