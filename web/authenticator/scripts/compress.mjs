// Lays a .br and a .gz beside each file of the build that gets smaller by it, and says what the first load weighs.

import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const dist = fileURLToPath(new URL('../dist', import.meta.url));

function filesIn(folder) {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesIn(path) : [path]));
}

let total = 0;
for (const file of filesIn(dist).sort()) {
  if (!/\.(js|css|html|json|svg|webmanifest)$/.test(file)) continue;
  const plain = readFileSync(file);
  const gz = gzipSync(plain, { level: 9 });
  const br = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  if (gz.length < plain.length) writeFileSync(`${file}.gz`, gz);
  if (br.length < plain.length) writeFileSync(`${file}.br`, br);
  total += gz.length;
  console.log(`${String(plain.length).padStart(8)} ${String(gz.length).padStart(7)} gz ${String(br.length).padStart(7)} br  ${relative(dist, file)}`);
}
console.log(`${String(total).padStart(16)} gz in all, every language and the QR decoder included`);
