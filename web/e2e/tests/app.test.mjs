import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { addByTyping, heading, open } from '../lib/app.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

const PUSHING = '[push]\ncontact = "mailto:mfa@countersign.dev"\n';

describe('the app', () => {
  let server;
  let user;
  let people = 0;
  before(async () => {
    server = await startServer(PUSHING);
  });
  // A user may have a few devices only: each test has its own.
  beforeEach(async () => {
    people += 1;
    user = `user${people}`;
    await server.addUser(user, 'Ada Example');
  });
  after(() => server.close());

  async function withBrowser(options, use) {
    const browser = await startBrowser(options);
    try {
      await use(browser.page, browser);
    } finally {
      await browser.close();
    }
  }

  it('can be installed', async () => {
    await withBrowser({}, async (page, { context }) => {
      await open(page, server);
      await page.evaluate(() => navigator.serviceWorker.ready);
      const devtools = await context.newCDPSession(page);
      const { installabilityErrors } = await devtools.send('Page.getInstallabilityErrors');
      assert.deepEqual(installabilityErrors, []);
      const { errors } = await devtools.send('Page.getAppManifest');
      assert.deepEqual(errors, []);
    });
  });

  it('breaks no rule of its content security policy', async () => {
    await withBrowser({}, async (page) => {
      const broken = [];
      page.on('console', (message) => message.type() === 'error' && broken.push(message.text()));
      page.on('pageerror', (error) => broken.push(error.message));
      await open(page, server);
      await addByTyping(page, server, user);
      for (const path of ['/add', '/add/scan', '/add/manual', '/accounts/x', '/requests/AAAAAAAAAAAAAAAAAAAAAA']) {
        await open(page, server, path);
        await page.waitForTimeout(300);
      }
      // Browsers write refusals of the server here too: an unknown challenge, a nonce that is to be renewed.
      assert.deepEqual(broken.filter((text) => !/status of (401|404)/.test(text)), []);
    });
  });

  it('says that notifications are refused', async () => {
    await withBrowser({ notifications: 'denied' }, async (page) => {
      await open(page, server);
      await addByTyping(page, server, user);
      await page.getByText('Notifications are blocked').waitFor();
    });
  });

  it('asks for notifications in a friendly way, and takes no for an answer', async () => {
    await withBrowser({ notifications: 'ask' }, async (page) => {
      await open(page, server);
      await addByTyping(page, server, user);
      await page.getByRole('button', { name: 'Turn on notifications' }).waitFor();
      await page.getByRole('button', { name: 'Not now' }).click();
      await page.getByRole('button', { name: 'Turn on notifications' }).waitFor({ state: 'detached' });
      await page.reload();
      await page.locator('.code').waitFor();
      assert.equal(await page.getByRole('button', { name: 'Turn on notifications' }).count(), 0);
    });
  });

  it('s91 does not wait for ever for a push service', async () => {
    await withBrowser({ notifications: 'granted' }, async (page) => {
      await open(page, server);
      await addByTyping(page, server, user);
      // Without the internet, Chromium's subscribe() never answers.
      await page.getByText('Notifications could not be set up').waitFor({ timeout: 60_000 });
    });
  });

  it('s11 s89 shows a notification for every push, and says nothing in it', async () => {
    await withBrowser({ notifications: 'granted' }, async (page, { context }) => {
      await open(page, server);
      await page.evaluate(() => navigator.serviceWorker.ready);
      const devtools = await context.newCDPSession(page);
      const registered = new Promise((resolve) => {
        devtools.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => registrations[0] && resolve(registrations[0].registrationId));
      });
      await devtools.send('ServiceWorker.enable');
      const registrationId = await registered;
      const challenge = 'Y2hhbGxlbmdlIGlkIDAwMQ';
      const pushes = [JSON.stringify({ v: 1, account: 'a', challenge }), 'not JSON', '{"v":1,"account":"a","challenge":"../../evil"}'];
      for (const data of pushes) await devtools.send('ServiceWorker.deliverPushMessage', { origin: server.origin, registrationId, data });
      // The display of notifications lags behind; asking too early loses them.
      await page.waitForTimeout(1_500);
      const shown = await page.evaluate(async () => {
        const registration = await navigator.serviceWorker.ready;
        return (await registration.getNotifications()).map(({ title, body, tag, data, actions }) => ({ title, body, tag, data, actions }));
      });
      const neutral = { title: 'Sign-in request', body: 'Open the app to answer it.', actions: [] };
      const byTag = (a, b) => a.tag.localeCompare(b.tag);
      assert.deepEqual(
        shown.sort(byTag),
        [
          { ...neutral, tag: challenge, data: { account: 'a', challenge } },
          { ...neutral, tag: 'request', data: {} },
        ].sort(byTag),
      );
    });
  });

  it('s11 opens a sign-in that is over from an old notification', async () => {
    await withBrowser({}, async (page) => {
      await open(page, server);
      await addByTyping(page, server, user);
      await open(page, server, '/requests/AAAAAAAAAAAAAAAAAAAAAA');
      await heading(page, 'Nothing is waiting');
    });
  });

  it('speaks the languages of its person', async () => {
    await withBrowser({ locale: 'de-CH' }, async (page) => {
      await open(page, server);
      await heading(page, 'Konten');
      await page.getByRole('combobox').selectOption('ar');
      await heading(page, 'الحسابات');
      assert.equal(await page.evaluate(() => document.documentElement.dir), 'rtl');
      await page.reload();
      await heading(page, 'الحسابات');
    });
  });
});
