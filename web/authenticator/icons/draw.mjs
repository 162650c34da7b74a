// Makes the PNG icons from the SVG drawings in this folder: npm run icons
//
// Reads just what the drawings use: rectangles with round corners, and strokes with round caps along straight lines and
// circular arcs (SVG 2, sections 9 and 10). Every pixel is the mean of SAMPLES × SAMPLES points.

import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { crc32, deflateSync } from 'node:zlib';

const SAMPLES = 3;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const icons = (name) => here(`../public/icons/${name}`);

function readDrawing(name) {
  const svg = readFileSync(here(name), 'utf8');
  const [left, top, width, height] = /viewBox="([^"]+)"/.exec(svg)[1].split(' ').map(Number);
  const shapes = [...svg.matchAll(/<(rect|path) ([^>]*?)\/?>/g)].map(([, kind, text]) => {
    const at = Object.fromEntries([...text.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
    if (kind === 'rect') return { color: hex(at.fill), covers: insideRect(...['x', 'y', 'width', 'height', 'rx'].map((key) => Number(at[key]))) };
    return { color: hex(at.stroke), covers: nearLine(points(at.d), Number(at['stroke-width']) / 2) };
  });
  return { left, top, width, height, shapes };
}

const hex = (color) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));

function insideRect(x, y, width, height, radius) {
  return (px, py) => {
    if (px < x || py < y || px > x + width || py > y + height) return false;
    const dx = Math.max(x + radius - px, px - (x + width - radius), 0);
    const dy = Math.max(y + radius - py, py - (y + height - radius), 0);
    return dx * dx + dy * dy <= radius * radius || radius === 0;
  };
}

/** The corners of a path of the commands M, L and A, where an arc is one of a circle. */
function points(path) {
  const found = [];
  for (const [, command, text] of path.matchAll(/([MLA])([^MLA]*)/g)) {
    const numbers = text.trim().split(/[\s,]+/).map(Number);
    if (command === 'A') found.push(...arc(found.at(-1), numbers));
    else found.push(numbers);
  }
  return found;
}

/** SVG 2, appendix B.2.4, for equal radii. */
function arc([x1, y1], [radius, , , large, sweep, x2, y2]) {
  const [mx, my, dx, dy] = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1];
  const half = Math.hypot(dx, dy) / 2;
  const rise = Math.sqrt(Math.max(0, radius * radius - half * half)) * (large === sweep ? 1 : -1);
  const [cx, cy] = [mx + (rise * dy) / (2 * half), my - (rise * dx) / (2 * half)];
  const from = Math.atan2(y1 - cy, x1 - cx);
  let turn = Math.atan2(y2 - cy, x2 - cx) - from;
  if (sweep === 1 && turn < 0) turn += 2 * Math.PI;
  if (sweep === 0 && turn > 0) turn -= 2 * Math.PI;
  const steps = 48;
  return Array.from({ length: steps }, (_, i) => {
    const angle = from + (turn * (i + 1)) / steps;
    return [cx + radius * Math.cos(angle), cy + radius * Math.sin(angle)];
  });
}

function nearLine(corners, reach) {
  return (px, py) => {
    for (let i = 1; i < corners.length; i += 1) {
      const [[ax, ay], [bx, by]] = [corners[i - 1], corners[i]];
      const [dx, dy] = [bx - ax, by - ay];
      const along = Math.min(1, Math.max(0, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy)));
      if (Math.hypot(px - ax - along * dx, py - ay - along * dy) <= reach) return true;
    }
    return false;
  };
}

function paint({ left, top, width, height, shapes }, size) {
  const pixels = Buffer.alloc(size * (size * 4 + 1));
  const scale = width / size;
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      const sum = [0, 0, 0, 0];
      for (let s = 0; s < SAMPLES * SAMPLES; s += 1) {
        const px = left + (x + ((s % SAMPLES) + 0.5) / SAMPLES) * scale;
        const py = top + (y + (Math.floor(s / SAMPLES) + 0.5) / SAMPLES) * (height / size);
        const shape = shapes.findLast(({ covers }) => covers(px, py));
        if (shape === undefined) continue;
        for (let c = 0; c < 3; c += 1) sum[c] += shape.color[c];
        sum[3] += 1;
      }
      const at = y * (size * 4 + 1) + 1 + x * 4;
      for (let c = 0; c < 3; c += 1) pixels[at + c] = sum[3] === 0 ? 0 : Math.round(sum[c] / sum[3]);
      pixels[at + 3] = Math.round((sum[3] / (SAMPLES * SAMPLES)) * 255);
    }
  }
  return pixels;
}

/** W3C PNG, third edition, section 5. */
function png(pixels, size) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(pixels, { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
}

for (const [drawing, size, name] of [
  ['icon.svg', 192, 'icon-192.png'],
  ['icon.svg', 512, 'icon-512.png'],
  ['maskable.svg', 512, 'maskable-512.png'],
  ['maskable.svg', 180, 'apple-touch-icon.png'],
  ['badge.svg', 96, 'badge-96.png'],
]) {
  writeFileSync(icons(name), png(paint(readDrawing(drawing), size), size));
}
copyFileSync(here('icon.svg'), icons('icon.svg'));
