// The whole way of a push: the server encrypts it, a push service carries it, Firefox decrypts it and wakes the service
// worker, a notification is clicked, a person answers, the login goes on.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { clickNotification, notifications, recordNotifications, startFirefox } from '../lib/marionette.mjs';
import { startPushService } from '../lib/minipush.mjs';
import { startServer } from '../lib/server.mjs';

describe('a push', () => {
  let service;
  let server;
  let firefox;
  before(async () => {
    service = await startPushService();
    server = await startServer(`[push]\ncontact = "mailto:mfa@countersign.dev"\nhosts = ["${service.host}"]\nallow_private = true\n`);
    await server.addUser('ada', 'Ada Example');
    await server.addResource('VPN Zürich');
    firefox = await start();
  });
  after(async () => {
    await firefox?.close();
    await server?.close();
    await service?.close();
  });

  async function start(profile) {
    // What came before the recorder is in its place would be shown to nobody.
    service.hold();
    const browser = await startFirefox({
      profile,
      preferences: {
        'dom.push.serverURL': service.webSocket,
        'dom.push.testing.allowInsecureServerURL': true,
        'permissions.default.desktop-notification': 1,
        'intl.accept_languages': 'en-GB, en',
      },
    });
    await recordNotifications(browser);
    service.release();
    return browser;
  }

  /** Waits for an element of the page, by selector and the text in it. */
  const seen = (selector, text = '') =>
    firefox.run(
      async (wanted, part) => {
        for (let tries = 0; tries < 250; tries += 1) {
          const found = [...document.querySelectorAll(wanted)].find((element) => element.textContent.includes(part));
          if (found !== undefined) return found.textContent;
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        throw new Error(`no ${wanted} with ${part}: ${document.body.innerText}`);
      },
      selector,
      text,
    );
  const press = async (selector) => {
    await seen(selector);
    await firefox.run(async (wanted) => document.querySelector(wanted).click(), selector);
  };

  /** The tab that the notification opened, or the one that was there. */
  async function toRequest() {
    for (let tries = 0; tries < 100; tries += 1) {
      for (const handle of await firefox.windows()) {
        await firefox.switchTo(handle);
        // A tab that is loading has no answer yet.
        const there = await firefox.run(async () => location.pathname.startsWith('/requests/')).catch(() => false);
        if (there) return;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.fail('no window shows the sign-in');
  }

  /** Whether the server can wake the device; waits until it is so. */
  async function push(wanted) {
    for (let tries = 0; tries < 100 && (await server.devices('ada'))[0].push !== wanted; tries += 1) await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal((await server.devices('ada'))[0].push, wanted);
  }

  const neutral = { title: 'Sign-in request', text: 'Open the app to answer it.', actions: 0 };

  it('is subscribed to when an account is added', async () => {
    const { code } = await server.issue('ada');
    await firefox.goTo(`${server.origin}/add/manual`);
    await seen('.code-input');
    await firefox.run(async (text) => {
      const input = document.querySelector('.code-input');
      input.value = text;
      input.dispatchEvent(new Event('input', { bubbles: true }));
      // The form reads what was typed when it has been drawn.
      await new Promise((resolve) => setTimeout(resolve, 100));
      document.querySelector('form .main').click();
    }, code);
    await seen('.code .digits');
    await service.logged('subscribed');
    await push(true);
  });

  it('with the page closed shows a notification; a click on it opens the sign-in, and Verify lets it in', async () => {
    await firefox.goTo('about:blank');
    const verdict = server.login('ada');
    assert.deepEqual(await notifications(firefox), [neutral]);
    const [{ octets, urgency }] = await service.logged('push');
    assert.equal(urgency, 'high');
    assert.ok(octets <= 4096);
    assert.equal((await service.logged('delivered'))[0].code, 100);
    await clickNotification(firefox);
    await toRequest();
    await seen('h1', 'Is this you signing in?');
    await press('.answer.verify[aria-disabled="false"]');
    await seen('h1', 'Approved');
    assert.equal(await verdict, 'accepted');
  });

  it('that comes while the browser is off is shown when it starts', async () => {
    await firefox.stop();
    const verdict = server.login('ada');
    await service.logged('push', 2);
    firefox = await start(firefox.profile);
    assert.deepEqual(await notifications(firefox), [neutral]);
    await clickNotification(firefox);
    await toRequest();
    await press('.answer.deny[aria-disabled="false"]');
    await seen('h1', 'Denied');
    assert.equal(await verdict, 'rejected');
  });

  it('to a subscription that has ended is answered with 410, and the server forgets it until the app is opened', async () => {
    await firefox.goTo(server.origin);
    await seen('.code .digits');
    await firefox.run(async () => {
      const { pushManager } = await navigator.serviceWorker.ready;
      await (await pushManager.getSubscription()).unsubscribe();
    });
    await service.logged('unsubscribed');
    await firefox.goTo('about:blank');
    await push(true);
    const verdict = server.login('ada');
    assert.equal((await service.logged('refused'))[0].status, 410);
    await push(false);
    await firefox.goTo(server.origin);
    await press('.answer.deny[aria-disabled="false"]');
    await seen('h1', 'Denied');
    assert.equal(await verdict, 'rejected');
    await push(true);
    assert.equal(service.log.filter(({ event }) => event === 'refused').length, 1);
  });

  it('does not come any more once the account is removed', async () => {
    await firefox.goTo(server.origin);
    await press('.account-link');
    await press('.button.danger');
    await press('dialog .button.danger');
    await seen('h2', 'No account yet');
    await service.logged('unsubscribed', 2);
    assert.equal(service.subscriptions.size, 0);
    assert.deepEqual(await server.devices('ada'), []);
  });
});
