// What a person does in the app.

import assert from 'node:assert/strict';

export async function open(page, server, path = '/') {
  await page.goto(server.origin + path);
  await page.locator('h1').waitFor();
}

/** Adds an account by typing its code, from the list of accounts. */
export async function addByTyping(page, server, user) {
  const { code } = await server.issue(user);
  await page.getByRole('link', { name: 'Add account' }).first().click();
  await page.getByRole('link', { name: /Enter manually/ }).click();
  await page.getByLabel('Code').fill(code.toLowerCase());
  await page.getByRole('button', { name: 'Activate' }).click();
  await heading(page, 'Accounts');
}

/** The screen with this heading. */
export async function heading(page, name) {
  await page.getByRole('heading', { level: 1, name }).waitFor();
}

/** Waits until the app listens: of a login before that it hears a little later. */
export async function listening(page) {
  await page.evaluate(async () => {
    const held = async () => (await navigator.locks.query()).held?.some(({ name }) => name === 'countersign-stream');
    while (!(await held())) await new Promise((resolve) => setTimeout(resolve, 50));
  });
}

/** Presses one of the answers, once the buttons are alive. */
export async function answer(page, name) {
  const button = page.getByRole('button', { name, exact: true });
  await page.locator('.answer[aria-disabled="false"]').first().waitFor();
  await button.click();
}

export async function close(page) {
  await page.getByRole('button', { name: 'Close' }).click();
}

/** The code that the first account shows, as digits. */
export async function shownCode(page) {
  const digits = page.locator('.code .digits').first();
  await digits.getByText(/\d{3}/).first().waitFor();
  return (await digits.textContent()).replaceAll(/\D/g, '');
}

/** Presses Tab until the element with the focus has this role and name. */
export async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name });
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press('Tab');
    if (await wanted.first().evaluate((element) => element === document.activeElement).catch(() => false)) return;
  }
  assert.fail(`Tab does not reach the ${role} ${name}`);
}

/** What the app stores about its keys. */
export async function storedKeys(page) {
  return page.evaluate(async () => {
    const database = await new Promise((resolve, reject) => {
      const opening = indexedDB.open('countersign');
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    const all = (store) =>
      new Promise((resolve, reject) => {
        if (!database.objectStoreNames.contains(store)) return resolve([]);
        const reading = database.transaction(store).objectStore(store).getAll();
        reading.onsuccess = () => resolve(reading.result);
        reading.onerror = () => reject(reading.error);
      });
    const exported = async (format, key) => {
      try {
        await crypto.subtle.exportKey(format, key);
        return 'exported';
      } catch (error) {
        return error.name;
      }
    };
    const kept = [];
    for (const { device, totp } of [...(await all('keys')), ...(await all('pending'))]) {
      const { extractable, usages } = device.privateKey;
      const tries = [await exported('jwk', device.privateKey), await exported('pkcs8', device.privateKey)];
      if (totp) tries.push(await exported('raw', totp), await exported('jwk', totp));
      kept.push({ extractable, usages, tries });
    }
    database.close();
    return kept;
  });
}
