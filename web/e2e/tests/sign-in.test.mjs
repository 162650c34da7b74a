import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { addByTyping, answer, close, heading, listening, open, tabTo } from '../lib/app.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

const QUESTION = 'Is this you signing in?';

describe('a sign-in', () => {
  let server;
  let browser;
  let page;
  let user;
  let people = 0;
  before(async () => {
    server = await startServer();
    await server.addResource('VPN Zürich', '--retries', 'collide');
  });
  after(() => server.close());
  // The server asks a user a few times only within some minutes: each test has its own.
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

  it('s13 s91 says who, where, from where and when, and goes on with Verify', async () => {
    const verdict = server.login(user, '--calling-station', '203.0.113.7');
    await heading(page, QUESTION);
    const facts = await page.locator('dl').textContent();
    for (const fact of ['VPN Zürich', user, '203.0.113.7', 'Reported by the application, not checked']) assert.ok(facts.includes(fact), fact);
    await page.getByText(/\d+ seconds left/).first().waitFor();
    await answer(page, 'Verify');
    await heading(page, 'Approved');
    assert.equal(await verdict, 'accepted');
    await close(page);
    await heading(page, 'Accounts');
  });

  /** A sign-in that is over before the test's own. */
  async function earlier(name) {
    const verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, name);
    await verdict;
    await close(page);
  }

  it('soon after an approval offers Deny first, and is refused with it', async () => {
    await earlier('Verify');
    const verdict = server.login(user);
    await heading(page, QUESTION);
    await page.getByText(/You already approved a sign-in to/).waitFor();
    const names = await page.locator('.answer').allTextContents();
    assert.deepEqual(names, ['Deny', 'It wasn’t me', 'Verify']);
    const heights = await page.locator('.answer').evaluateAll((all) => all.map((one) => one.getBoundingClientRect().height));
    assert.equal(new Set(heights).size, 1, 'all answers are of one size');
    await answer(page, 'Deny');
    await heading(page, 'Denied');
    assert.equal(await verdict, 'rejected');
    await close(page);
  });

  it('takes no answer in its first half second', async () => {
    const verdict = server.login(user);
    // As somebody who was about to tap where Verify appears: pressed the moment it is there.
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          const press = () => {
            const button = document.querySelector('.answer.verify');
            if (button === null) return requestAnimationFrame(press);
            button.click();
            resolve();
          };
          press();
        }),
    );
    assert.equal(await page.locator('.answer.verify').getAttribute('aria-disabled'), 'true');
    await heading(page, QUESTION);
    await answer(page, 'Deny');
    assert.equal(await verdict, 'rejected');
    await close(page);
  });

  it('is answered with the keyboard alone', async () => {
    const verdict = server.login(user);
    await heading(page, QUESTION);
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1', 'the question has the focus');
    await page.locator('.answer[aria-disabled="false"]').first().waitFor();
    await tabTo(page, 'button', 'Verify');
    await page.keyboard.press('Enter');
    await heading(page, 'Approved');
    assert.equal(await verdict, 'accepted');
    await tabTo(page, 'button', 'Close');
    await page.keyboard.press('Enter');
    await heading(page, 'Accounts');
  });

  it('of two windows, both show it and one answers', async () => {
    const second = await browser.context.newPage();
    await open(second, server);
    const verdict = server.login(user);
    await heading(second, QUESTION);
    await heading(page, QUESTION);
    await answer(second, 'Deny');
    await heading(page, 'Denied');
    assert.equal(await verdict, 'rejected');
    await second.close();
    await page.bringToFront();
    await close(page);
  });

  it('waits on when the network fails, and the answer gets through', async () => {
    const verdict = server.login(user);
    await heading(page, QUESTION);
    let failures = 2;
    await browser.context.route('**/decision', async (route) => {
      failures -= 1;
      // Once it never arrives, once its answer gets lost.
      if (failures === 0) await route.fetch();
      return failures >= 0 ? route.abort() : route.continue();
    });
    await answer(page, 'Verify');
    await heading(page, 'Approved');
    assert.equal(await verdict, 'accepted');
    await browser.context.unroute('**/decision');
    await close(page);
  });

  it('comes also after the server was started anew', async () => {
    await server.stop();
    await page.getByRole('heading', { name: 'The server does not answer' }).waitFor();
    await server.start();
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('heading', { name: 'The server does not answer' }).waitFor({ state: 'detached' });
    const verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Deny');
    assert.equal(await verdict, 'rejected');
    await close(page);
  });

  it('that collides says so, and can be reported', async () => {
    const logins = [server.login(user, '--calling-station', '203.0.113.7')];
    await heading(page, QUESTION);
    logins.push(server.login(user, '--calling-station', '198.51.100.9'));
    await heading(page, 'Two sign-ins at once');
    await page.getByText('At most one of them is yours').first().waitFor();
    assert.deepEqual(await Promise.all(logins), ['rejected', 'rejected']);
    await page.getByRole('button', { name: 'It wasn’t me' }).click();
    await heading(page, 'Reported');
    await close(page);
  });

  it('stands in the history', async () => {
    await earlier('Verify');
    await earlier('Deny');
    await page.getByRole('link', { name: /Ada Example/ }).click();
    await page.getByRole('link', { name: 'History' }).click();
    await page.getByRole('listitem').nth(1).waitFor();
    assert.deepEqual(await page.locator('.history small').allTextContents(), ['Denied', 'Approved']);
  });

  it('that was somebody else is reported at once', async () => {
    const verdict = server.login(user);
    await page.getByRole('button', { name: 'It wasn’t me' }).waitFor();
    await answer(page, 'It wasn’t me');
    await heading(page, 'Reported');
    assert.equal(await verdict, 'rejected');
  });
});
