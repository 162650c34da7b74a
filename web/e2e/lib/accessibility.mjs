import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** axe finds nothing on this screen, and nothing sticks out at its sides. */
export async function checkScreen(page, name) {
  // As an expression of the debugger: the content security policy of the page lets no other script in.
  await page.evaluate(`${axe}; undefined`);
  const found = await page.evaluate(async () => {
    // The bar on top may cover what was scrolled; colours are judged once animations are over.
    await Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => undefined)));
    const { violations, passes } = await globalThis.axe.run(document);
    const faults = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
    return { faults, rules: passes.length };
  });
  assert.deepEqual(found.faults, [], `${name}: axe`);
  assert.ok(found.rules > 10, `${name}: axe looked at ${found.rules} rules only`);
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(sideways <= 0, `${name}: ${sideways} px stick out`);
}
