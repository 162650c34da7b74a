// The app's origin: the built files of web/authenticator/dist, and everything under /device/ from the server behind it.
// It stands in for what the server will do itself, headers included.

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../../authenticator/dist', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
};
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; " +
    "worker-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; " +
    "require-trusted-types-for 'script'; trusted-types countersign",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(self)',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
};

/** `behind()` gives the port of the server; null while it is down. */
export async function startFront(behind) {
  const server = http.createServer((request, response) => {
    if (request.url.startsWith('/device/')) forward(behind(), request, response);
    else void serve(request, response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: server.address().port,
    origin: `http://localhost:${server.address().port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serve(request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
  const isFile = /^\/(assets|icons)\//.test(path) || path === '/sw.js' || path === '/manifest.webmanifest';
  try {
    const body = await readFile(join(DIST, isFile ? path : 'index.html'));
    const type = TYPES[isFile ? extname(path) : '.html'] ?? 'application/octet-stream';
    const caching = path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache';
    response.writeHead(200, { ...HEADERS, 'Content-Type': type, 'Cache-Control': caching }).end(body);
  } catch {
    response.writeHead(404, HEADERS).end();
  }
}

function forward(port, request, response) {
  if (port === null) {
    response.socket.destroy();
    return;
  }
  const onward = http.request({ host: '127.0.0.1', port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.socket?.destroy());
  response.on('close', () => onward.destroy());
  request.pipe(onward);
}
