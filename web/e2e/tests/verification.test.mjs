import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { addByTyping, answer, close, heading, listening, open } from '../lib/app.mjs';
import { authenticator } from '../lib/authenticator.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startServer } from '../lib/server.mjs';

const QUESTION = 'Is this you signing in?';
const SECTION = 'Confirm with fingerprint, face or PIN';

describe('user verification', () => {
  let server;
  let browser;
  let page;
  let user;
  let people = 0;
  before(async () => {
    server = await startServer();
    await server.addResource('VPN');
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

  const asks = (mode) => server.command('resource', 'set', 'VPN', '--user-verification', mode);

  async function begin() {
    await open(page, server);
    await addByTyping(page, server, user);
    await listening(page);
  }

  async function account() {
    await page.getByRole('link', { name: /Ada Example/ }).click();
    await page.getByRole('heading', { name: SECTION }).waitFor();
  }

  async function setUp() {
    await account();
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByRole('button', { name: 'Turn off' }).waitFor();
    await page.getByRole('button', { name: 'Back' }).click();
    await heading(page, 'Accounts');
  }

  async function ended() {
    const records = await server.command('audit', 'list', '--user', user);
    const { reason, detail } = records.filter(({ event }) => event === 'login.ended').at(-1);
    return [reason, detail];
  }

  async function verifies() {
    return (await server.devices(user)).map(({ user_verification }) => user_verification);
  }

  it('s12 is set up once, and then lets a login in where it is required', async () => {
    await asks('required');
    const device = await authenticator(browser);
    await begin();
    assert.deepEqual(await verifies(), [false]);
    assert.equal(await server.login(user), 'rejected', 'nobody could have verified it');
    assert.deepEqual(await ended(), ['no_device', 'no_user_verification']);
    await setUp();
    assert.deepEqual(await verifies(), [true]);
    const [credential] = await device.credentials();
    assert.equal(credential.rpId, 'localhost');
    for (let times = 0; times < 2; times += 1) {
      const verdict = server.login(user);
      await heading(page, QUESTION);
      await answer(page, 'Verify');
      await heading(page, 'Approved');
      assert.equal(await verdict, 'accepted');
      assert.deepEqual(await ended(), ['approved', 'webauthn']);
      await close(page);
    }
    const [{ signCount }] = await device.credentials();
    assert.ok(signCount > credential.signCount, 'the authenticator was used');
  });

  it('s12 that fails lets nobody in, and can be tried again', async () => {
    await asks('required');
    const device = await authenticator(browser);
    await begin();
    await setUp();
    await device.finger(false);
    let verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Verify');
    await page.getByText('The check was cancelled or took too long').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Verify without a check' }).count(), 0);
    await answer(page, 'Deny');
    assert.equal(await verdict, 'rejected');
    await close(page);
    verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Verify');
    await page.getByText('The check was cancelled or took too long').waitFor();
    await device.finger(true);
    await answer(page, 'Verify');
    await heading(page, 'Approved');
    assert.equal(await verdict, 'accepted');
  });

  it('that is preferred is asked for, and a Verify without it is taken', async () => {
    await asks('preferred');
    const device = await authenticator(browser);
    await begin();
    await setUp();
    await device.finger(false);
    const verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Verify');
    await answer(page, 'Verify without a check');
    await heading(page, 'Approved');
    assert.equal(await verdict, 'accepted');
    assert.deepEqual(await ended(), ['approved', 'unverified']);
  });

  it('is set up in a sign-in that asks for it', async () => {
    await asks('required');
    await authenticator(browser);
    await begin();
    // Another device of the same person can, so this one is asked as well.
    const other = await startBrowser();
    try {
      await authenticator(other);
      await open(other.page, server);
      await addByTyping(other.page, server, user);
      await listening(other.page);
      await other.page.getByRole('link', { name: /Ada Example/ }).click();
      await other.page.getByRole('button', { name: 'Set up' }).click();
      await other.page.getByRole('button', { name: 'Turn off' }).waitFor();
      const verdict = server.login(user);
      await heading(page, QUESTION);
      await page.getByText('Set that up once').waitFor();
      assert.equal(await page.getByRole('button', { name: 'Verify' }).count(), 0);
      await page.getByRole('button', { name: 'Set up' }).click();
      await answer(page, 'Verify');
      await heading(page, 'Approved');
      assert.equal(await verdict, 'accepted');
    } finally {
      await other.close();
    }
  });

  it('is turned off here and at the server', async () => {
    await asks('off');
    await authenticator(browser);
    await begin();
    await setUp();
    await account();
    await page.getByRole('button', { name: 'Turn off' }).click();
    await page.getByRole('button', { name: 'Set up' }).waitFor();
    assert.deepEqual(await verifies(), [false]);
    // A page that was loaded anew asks the server.
    await page.reload();
    await page.getByRole('button', { name: 'Set up' }).waitFor();
    const verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Verify');
    assert.equal(await verdict, 'accepted');
  });

  it('is not offered by a device that cannot do it', async () => {
    await asks('required');
    await begin();
    await account();
    await page.getByText('This device or browser cannot do that').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Set up' }).count(), 0);
  });

  it('that the authenticator has forgotten is set up anew', async () => {
    await asks('required');
    const device = await authenticator(browser);
    await begin();
    await setUp();
    await device.forget();
    let verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Verify');
    await page.getByText('The check was cancelled or took too long').waitFor();
    await answer(page, 'Deny');
    assert.equal(await verdict, 'rejected');
    await close(page);
    await account();
    await page.getByRole('button', { name: 'Turn off' }).click();
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByRole('button', { name: 'Turn off' }).waitFor();
    await page.getByRole('button', { name: 'Back' }).click();
    verdict = server.login(user);
    await heading(page, QUESTION);
    await answer(page, 'Verify');
    await heading(page, 'Approved');
    assert.equal(await verdict, 'accepted');
  });
});
