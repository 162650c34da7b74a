import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { addByTyping, answer, close, heading, listening, open, shownCode, storedKeys, tabTo } from '../lib/app.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

describe('accounts', () => {
  let server;
  let browser;
  before(async () => {
    server = await startServer();
    await server.addResource('VPN Zürich');
  });
  after(() => server.close());
  afterEach(async () => {
    await browser?.close();
    browser = undefined;
  });

  async function start(options) {
    browser = await startBrowser(options);
    await open(browser.page, server);
    return browser.page;
  }

  let people = 0;
  /** Adds somebody new: a user may have a few devices only. */
  async function somebody(name = 'Ada Example') {
    people += 1;
    const user = `user${people}`;
    await server.addUser(user, name);
    return user;
  }

  it('show codes without a network, which open the door', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await browser.context.setOffline(true);
    await page.reload();
    const code = await shownCode(page);
    await page.getByText('This device is offline').waitFor();
    assert.equal(await server.loginWithCode(user, code), 'accepted');
  });

  it('keep a key that outlives a restart and cannot be exported', async () => {
    const user = await somebody();
    let page = await start();
    await addByTyping(page, server, user);
    const [kept] = await storedKeys(page);
    assert.deepEqual(kept, { extractable: false, usages: ['sign'], tries: Array(4).fill('InvalidAccessError') });
    await browser.stop();
    browser = await startBrowser({ profile: browser.profile });
    page = browser.page;
    await open(page, server);
    await listening(page);
    const verdict = server.login(user);
    await answer(page, 'Verify');
    assert.equal(await verdict, 'accepted');
  });

  it('stand side by side, each with its own sign-ins', async () => {
    const [ada, bob] = [await somebody(), await somebody('Bob Example')];
    const page = await start();
    await addByTyping(page, server, ada);
    await addByTyping(page, server, bob);
    await page.getByRole('link', { name: /Bob Example/ }).waitFor();
    await page.locator('.code .digits').nth(1).getByText(/\d{3}/).first().waitFor();
    const codes = await page.locator('.code .digits').allTextContents();
    assert.equal(new Set(codes).size, 2);
    await listening(page);
    for (const [user, name] of [
      [bob, 'Bob Example'],
      [ada, 'Ada Example'],
    ]) {
      const verdict = server.login(user);
      await page.locator('.whose').getByText(name).waitFor();
      await answer(page, 'Verify');
      assert.equal(await verdict, 'accepted');
      await close(page);
    }
  });

  it('of one user twice are kept both', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    await addByTyping(page, server, user);
    await page.getByRole('link', { name: /Ada Example/ }).nth(1).waitFor();
  });

  it('are removed, with the keyboard, here and at the server', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    await tabTo(page, 'link', /Ada Example/);
    await page.keyboard.press('Enter');
    await heading(page, 'Ada Example');
    await tabTo(page, 'button', 'Remove account');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await tabTo(page, 'button', /^Remove$/);
    await page.keyboard.press('Enter');
    await page.getByText('No account yet').waitFor();
    assert.deepEqual(await storedKeys(page), []);
    assert.deepEqual(await server.devices(user), []);
  });

  it('get another name for their device', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    await page.getByRole('link', { name: /Ada Example/ }).click();
    await page.getByLabel('Name of this device').fill('Ada’s tablet');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved').waitFor({ state: 'attached' });
    const devices = await server.devices(user);
    assert.ok(devices.some(({ name }) => name === 'Ada’s tablet'));
  });

  it('that the administrator removed say so, and show no code', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    const [mine] = await server.devices(user);
    await server.command('device', 'remove', mine.id);
    await page.getByText('This device was removed or suspended').first().waitFor();
    assert.equal(await page.locator('.code').count(), 0);
  });

  it('that are disabled say so', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    await server.command('user', 'disable', user);
    await page.reload();
    await page.getByText('This account is disabled').first().waitFor();
  });

  it('without their key say what to do', async () => {
    const user = await somebody();
    const page = await start();
    await addByTyping(page, server, user);
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          indexedDB.open('countersign').onsuccess = ({ target }) => {
            const transaction = target.result.transaction('keys', 'readwrite');
            transaction.objectStore('keys').clear();
            transaction.oncomplete = resolve;
          };
        }),
    );
    await page.reload();
    await page.getByText('The key of this account is missing').click();
    await page.getByRole('link', { name: /Ada Example/ }).click();
    await page.getByText('a backup is restored').waitFor();
  });

  it('work with a wrong clock, which is told', async () => {
    const user = await somebody();
    browser = await startBrowser();
    const { page } = browser;
    await page.clock.install({ time: Date.now() + 7 * 60_000 });
    await open(page, server);
    await addByTyping(page, server, user);
    await page.getByText('The clock of this device is 7 minutes fast').waitFor();
    assert.equal(await server.loginWithCode(user, await shownCode(page)), 'accepted');
  });

  it('under another address of the server send people to the right one', async () => {
    browser = await startBrowser();
    await browser.page.goto(server.origin.replace('localhost', '127.0.0.1'));
    await browser.page.getByText('This is not the address of the app').waitFor();
  });
});
