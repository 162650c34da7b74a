import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { checkScreen } from '../lib/accessibility.mjs';
import { addByTyping, heading, listening, open, tabTo } from '../lib/app.mjs';
import { authenticator } from '../lib/authenticator.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

const NOW = /^Start .Remote Desktop. now$/;
const REFUSED = 'You cannot sign in this way now';
/** A server that has just started does not know of sign-ins shortly before. */
const UNKNOWING_MS = 31_000;

describe('a sign-in window', () => {
  let server;
  let started;
  let browser;
  let page;
  let user;
  let people = 0;
  before(async () => {
    server = await startServer();
    started = Date.now();
    await server.addResource('Remote Desktop', '--windows');
  });
  after(() => server.close());
  beforeEach(async () => {
    people += 1;
    user = `user${people}`;
    await server.addUser(user, 'Ada Example');
    browser = await startBrowser();
    page = browser.page;
  });
  afterEach(() => browser.close());

  async function account() {
    await open(page, server);
    await addByTyping(page, server, user);
    await listening(page);
    await page.getByRole('link', { name: /Ada Example/ }).click();
    await page.getByRole('button', { name: /^Sign in to/ }).waitFor();
  }

  const press = (name) => page.getByRole('button', { name }).click();
  const knowing = () => pause(Math.max(0, started + UNKNOWING_MS - Date.now()));

  async function look(name) {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const [width, height] of [[320, 640], [1280, 800]]) {
        await page.setViewportSize({ width, height });
        await checkScreen(page, `${name} ${width} ${colorScheme}`);
      }
    }
  }

  it('that is refused says why and when to try again, and then lets one sign-in in', async () => {
    await account();
    await look('account');
    await press(/^Sign in to/);
    await heading(page, REFUSED);
    await page.getByText(/Do not sign in there until .*\d:\d\d:\d\d/).first().waitFor();
    await look('refused');
    await knowing();
    await press('Try again');
    await heading(page, NOW);
    await look('open');
    assert.equal(await server.login(user), 'accepted');
    await heading(page, 'Let in');
    await look('let in');
    await press('Back');
    await page.getByRole('link', { name: 'History' }).click();
    await page.getByRole('listitem').first().waitFor();
    assert.deepEqual(await page.locator('.history small').allTextContents(), ['Approved', 'Announced in the app']);
  });

  it('is opened with the keyboard alone, and of two sign-ins lets none in', async () => {
    await knowing();
    await account();
    await tabTo(page, 'button', /^Sign in to/);
    await page.keyboard.press('Enter');
    await heading(page, NOW);
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1', 'what to do now has the focus');
    const verdicts = [server.login(user, '--calling-station', '203.0.113.7'), server.login(user, '--calling-station', '198.51.100.9')];
    await heading(page, 'Two sign-ins at once');
    assert.deepEqual(await Promise.all(verdicts), ['rejected', 'rejected']);
    await tabTo(page, 'button', 'Back');
    await page.keyboard.press('Enter');
    await tabTo(page, 'button', /^Sign in to/);
    await page.keyboard.press('Enter');
    await page.getByText('somebody may know your password').first().waitFor();
  });

  it('is there when the app comes back, and says what became of it', async () => {
    await knowing();
    await account();
    await press(/^Sign in to/);
    await heading(page, NOW);
    await page.reload();
    await heading(page, NOW);
    await page.goto('about:blank');
    assert.equal(await server.login(user), 'accepted');
    await open(page, server);
    await heading(page, 'Let in');
    // It is told once.
    await open(page, server);
    await heading(page, 'Accounts');
  });

  it('that nobody uses ends, and can be opened again', async () => {
    await knowing();
    await account();
    await press(/^Sign in to/);
    await heading(page, NOW);
    await page.getByRole('heading', { level: 1, name: 'No sign-in came' }).waitFor({ timeout: 75_000 });
    await press('Try again');
    await heading(page, NOW);
  });

  it('is turned to the language of the person', async () => {
    await browser.close();
    browser = await startBrowser({ locale: 'ar' });
    page = browser.page;
    await knowing();
    const { qr } = await server.issue(user);
    await page.goto(qr);
    await page.locator('form .main').click();
    await page.locator('.account-link').click();
    await page.locator('.windows .button').click();
    await page.locator('main.window').waitFor();
    await look('open in Arabic');
  });

  it('s12 needs a verified person where that is required', async () => {
    await knowing();
    await server.command('resource', 'set', 'Remote Desktop', '--user-verification', 'required');
    const device = await authenticator(browser);
    await account();
    await press(/^Sign in to/);
    await heading(page, REFUSED);
    await press('Set up');
    await page.getByText('Try again, and let this device check it').first().waitFor();
    await device.finger(false);
    await press('Try again');
    await page.getByText('The check was cancelled or took too long').first().waitFor();
    await press('Go on without a check');
    await page.getByText('let this device check it').first().waitFor();
    await device.finger(true);
    await press('Try again');
    await heading(page, NOW);
    assert.equal(await server.login(user), 'accepted');
    await heading(page, 'Let in');
  });
});
