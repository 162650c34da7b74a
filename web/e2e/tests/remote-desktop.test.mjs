// A Remote Desktop logon, all of it real: FreeRDP, xrdp, pam_radius_auth, the server, and a tap in the app.

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { addByTyping, answer, heading, listening, open } from '../lib/app.mjs';
import { startBrowser } from '../lib/browser.mjs';
import { startDomain } from '../lib/domain.mjs';
import { startHost } from '../lib/rdp.mjs';
import { startServer } from '../lib/server.mjs';

const PICTURES = fileURLToPath(new URL('../../../target/screens/rdp', import.meta.url));
const PASSWORD = 'the password of the tests';
const missing = process.getuid() === 0 ? false : 'an xrdp host needs root';

/** Logs on, and answers in the app while the client waits; `then` is what the app says afterwards. */
async function logOn({ server, host }, user, password, name, then, pictures = name.toLowerCase()) {
  // A small phone, as sharp as they are.
  const browser = await startBrowser({ viewport: { width: 360, height: 680 }, deviceScaleFactor: 2 });
  const { page } = browser;
  const keep = (picture, what) => writeFile(join(PICTURES, `${pictures}-${what}.png`), picture);
  try {
    await open(page, server);
    await addByTyping(page, server, user);
    await listening(page);
    const logon = await host.logOn(user, password);
    const early = await Promise.race([heading(page, 'Is this you signing in?'), logon.ended()]);
    assert.equal(early?.result, undefined, `it ended before the question: ${early?.said}`);
    const facts = await page.locator('dl').textContent();
    for (const fact of ['Remote Desktop', user]) assert.ok(facts.includes(fact), facts);
    await page.locator('.answer[aria-disabled="false"]').first().waitFor();
    await keep(await logon.screen(), 'waiting');
    await keep(await page.screenshot(), 'request');
    const tapped = Date.now();
    await answer(page, name);
    await heading(page, then);
    const { result, at, picture } = await logon.ended();
    await keep(picture, result);
    // To a tenth of a second, which the lab's clock has.
    assert.ok(at > tapped - 100, `${result} before the tap`);
    return { result, seconds: (at - tapped) / 1000 };
  } finally {
    await browser.close();
  }
}

describe('a Remote Desktop logon', { skip: process.env.CI ? false : missing }, () => {
  let server;
  let host;
  before(async () => {
    assert.equal(missing, false);
    await mkdir(PICTURES, { recursive: true });
    server = await startServer();
    await server.addUser('alice', 'Alice Example', PASSWORD);
    await server.addUser('bob', 'Bob Example', PASSWORD);
    host = await startHost(server, 'Remote Desktop', ['alice', 'bob']);
  });
  after(async () => {
    await host?.close();
    await server?.close();
  });

  it('shows the desktop after a tap on Verify', async (test) => {
    const { result, seconds } = await logOn({ server, host }, 'alice', PASSWORD, 'Verify', 'Approved');
    assert.equal(result, 'connected');
    test.diagnostic(`from the tap to the desktop: ${seconds.toFixed(1)} s`);
  });

  it('shows none after a tap on Deny', async (test) => {
    const { result, seconds } = await logOn({ server, host }, 'bob', PASSWORD, 'Deny', 'Denied');
    assert.equal(result, 'refused');
    test.diagnostic(`from the tap to the refusal: ${seconds.toFixed(1)} s`);
  });
});

describe('a Remote Desktop logon with a domain password', { skip: process.env.CI ? false : missing }, () => {
  let domain;
  let server;
  let host;
  before(async () => {
    assert.equal(missing, false);
    await mkdir(PICTURES, { recursive: true });
    [domain, server] = await Promise.all([startDomain(), startServer()]);
    await domain.introduce(server, 'corp');
    host = await startHost(server, 'Remote Desktop', ['alice'], '--primary', 'directory', '--directory', 'corp', '--allow-group', 'GG-RDP');
  });
  after(async () => {
    await host?.close();
    await server?.close();
    await domain?.close();
  });

  it('shows the desktop after a tap on Verify', async () => {
    // Nobody entered her here: the first logon makes her known, and is refused, since she has no phone yet.
    const first = await host.logOn('alice', domain.password);
    assert.equal((await first.ended()).result, 'refused');
    const { result } = await logOn({ server, host }, 'alice', domain.password, 'Verify', 'Approved', 'domain');
    assert.equal(result, 'connected');
  });
});
