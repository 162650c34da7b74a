import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { addByTyping, heading, open, shownCode, storedKeys } from '../lib/app.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { filmQr } from '../lib/film.mjs';
import { startServer } from '../lib/server.mjs';

const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1';

describe('activation', () => {
  let server;
  let films;
  let user;
  let people = 0;
  before(async () => {
    server = await startServer();
    films = await mkdtemp(join(tmpdir(), 'countersign-films-'));
  });
  // A user may have a few devices only: each test has its own.
  beforeEach(async () => {
    people += 1;
    user = `user${people}`;
    await server.addUser(user, 'Ada Example');
  });
  after(async () => {
    await server.close();
    await rm(films, { recursive: true });
  });

  /** Runs `use` with a browser of its own. */
  async function withBrowser(options, use) {
    const browser = await startBrowser(options);
    try {
      await use(browser.page, browser);
    } finally {
      await browser.close();
    }
  }

  async function devices() {
    return (await server.devices(user)).length;
  }

  it('by typing the code', async () => {
    await withBrowser({}, async (page) => {
      await open(page, server);
      await addByTyping(page, server, user);
      await page.getByText('Ada Example').first().waitFor();
      assert.match(await shownCode(page), /^\d{6}$/);
    });
  });

  it('by a film of the QR code through the camera', async () => {
    const { qr } = await server.issue(user);
    const film = join(films, 'code.y4m');
    await filmQr(film, qr);
    await withBrowser({ film }, async (page) => {
      await open(page, server);
      await page.getByRole('link', { name: 'Add account' }).first().click();
      await page.getByRole('link', { name: /Scan QR code/ }).click();
      await page.getByText('Example Ltd').waitFor();
      await page.getByRole('button', { name: 'Activate' }).click();
      await heading(page, 'Accounts');
      assert.match(await shownCode(page), /^\d{6}$/);
    });
  });

  it('by following the link of the QR code, whose secret leaves the address bar', async () => {
    const { qr } = await server.issue(user);
    await withBrowser({}, async (page) => {
      await page.goto(qr);
      await page.getByText('Example Ltd').waitFor();
      assert.equal(page.url(), `${server.origin}/activate`);
      await page.getByRole('button', { name: 'Activate' }).click();
      await heading(page, 'Accounts');
    });
  });

  it('a code that is wrong or used says so and keeps no key', async () => {
    const { code } = await server.issue(user);
    await withBrowser({}, async (page) => {
      await open(page, server, '/add/manual');
      await page.getByLabel('Code').fill('ABCD');
      await page.getByRole('button', { name: 'Activate' }).click();
      await page.getByText('A code has 12 letters and digits').waitFor();
      const wrong = code.slice(0, -1) + (code.endsWith('0') ? '1' : '0');
      await page.getByLabel('Code').fill(wrong);
      await page.getByRole('button', { name: 'Activate' }).click();
      await page.getByRole('alert').getByText('This code is wrong').waitFor();
      assert.deepEqual(await storedKeys(page), []);
    });
  });

  it('a lost answer is asked for again with the same key', async () => {
    const { code } = await server.issue(user);
    const before = await devices();
    await withBrowser({}, async (page, { context }) => {
      await open(page, server, '/add/manual');
      await page.getByLabel('Code').fill(code);
      // The server hears the request; its answer never arrives.
      await context.route('**/device/v1/activations', async (route) => {
        await route.fetch();
        await route.abort();
      });
      await page.getByRole('button', { name: 'Activate' }).click();
      await page.getByRole('alert').getByText('The server does not answer').waitFor();
      assert.equal(await devices(), before + 1);
      await context.unroute('**/device/v1/activations');
      await open(page, server);
      await page.getByRole('heading', { name: 'An activation was interrupted' }).waitFor();
      await page.getByRole('button', { name: 'Try again' }).click();
      assert.match(await shownCode(page), /^\d{6}$/);
      assert.equal(await devices(), before + 1);
    });
  });

  it('a code of another server leads to its app, and nothing is asked there', async () => {
    const film = join(films, 'other.y4m');
    const qr = 'https://mfa.example.net/activate#v=1&t=YWN0aXZhdGlvbiB0b2tlbg&k=oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U';
    await filmQr(film, qr);
    await withBrowser({ film }, async (page) => {
      const hosts = new Set();
      page.on('request', (request) => hosts.add(new URL(request.url()).host));
      await open(page, server, '/add/scan');
      await heading(page, 'This code is for another server');
      assert.equal(await page.getByRole('link', { name: 'Open the other app' }).getAttribute('href'), qr);
      await open(page, server, '/add/manual');
      await page.getByLabel('Code').fill('ABCD-EFGH-JKMN');
      await page.getByLabel('Address').fill('mfa.example.net');
      await page.getByRole('button', { name: 'Activate' }).click();
      await heading(page, 'This code is for another server');
      assert.deepEqual([...hosts], [new URL(server.origin).host]);
    });
  });

  it('a code with another server key is not redeemed', async () => {
    const { qr } = await server.issue(user);
    const before = await devices();
    await withBrowser({}, async (page) => {
      await page.goto(qr.replace(/k=.*/, 'k=oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U'));
      await page.getByRole('button', { name: 'Activate' }).click();
      await page.getByText('The server is not the one that this code was made for').waitFor();
      assert.equal(await devices(), before);
    });
  });

  it('s39 a tab on an iPhone makes no key and redeems nothing', async () => {
    const { qr } = await server.issue(user);
    const before = await devices();
    await withBrowser({ userAgent: IPHONE }, async (page) => {
      const asked = [];
      page.on('request', (request) => request.method() !== 'GET' && asked.push(request.url()));
      await page.goto(qr);
      await heading(page, 'Add to the home screen first');
      for (const path of ['/add', '/add/manual', '/add/scan']) {
        await open(page, server, path);
        await heading(page, 'Add to the home screen first');
      }
      assert.deepEqual(await storedKeys(page), []);
      assert.deepEqual(asked, []);
      assert.equal(await devices(), before);
    });
  });

  it('a camera that is refused leaves typing', async () => {
    await withBrowser({ camera: 'denied' }, async (page) => {
      await open(page, server, '/add/scan');
      await page.getByText('The camera may not be used').waitFor();
      await page.getByRole('link', { name: 'Enter manually' }).click();
      await heading(page, 'Enter manually');
    });
  });
});
