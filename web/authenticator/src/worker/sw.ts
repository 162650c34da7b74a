// The service worker: keeps the app's files for when there is no network, and shows that something waits.
// It answers no sign-in and holds no answers of the server.

import { subscribe, wireForm } from '../app/subscription';
import { Client } from '../protocol/client';
import { CHALLENGE_ID, readPush } from '../protocol/messages';
import * as db from '../store/db';

declare const self: ServiceWorkerGlobalScope;
/** All files of this build and a name made of their contents; vite.worker.config.ts fills them in. */
declare const __FILES__: string[];
declare const __BUILD__: string;

const CACHE = `app-${__BUILD__}`;

self.addEventListener('install', (event) => {
  // Straight from the server: a file in the browser's own cache may be older.
  const files = __FILES__.map((file) => new Request(file, { cache: 'reload' }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)));
});

self.addEventListener('activate', (event) => {
  const tidy = async () => {
    for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== self.location.origin || url.pathname.startsWith('/device/')) return;
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(request.mode === 'navigate' ? '/' : request, { ignoreSearch: request.mode === 'navigate' });
    return kept ?? fetch(request);
  };
  event.respondWith(answer());
});

self.addEventListener('message', (event) => {
  if (event.data === 'take over') void self.skipWaiting();
});

// Every push ends in a notification that is seen, whatever it carries: browsers take the subscription away otherwise.
self.addEventListener('push', (event) => {
  event.waitUntil(notify(event.data));
});

async function notify(data: PushMessageData | null): Promise<void> {
  let ids: ReturnType<typeof readPush> = null;
  try {
    ids = readPush(data?.json());
  } catch {
    // Not ours to read; something waits all the same.
  }
  const text = await db.setting('notice').catch(() => undefined);
  await self.registration.showNotification(text?.title ?? 'Sign-in request', {
    body: text?.body ?? 'Open the app to answer it.',
    lang: text?.lang ?? 'en',
    dir: text?.dir ?? 'ltr',
    icon: '/icons/icon-192.png',
    badge: '/icons/badge-96.png',
    tag: ids?.challenge ?? 'request',
    // Not in every browser's types yet: a request that comes again makes itself heard again.
    ...{ renotify: true },
    data: ids ?? {},
  });
  for (const client of await self.clients.matchAll({ type: 'window' })) client.postMessage({ type: 'push' });
}

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const challenge: unknown = event.notification.data?.challenge;
  const known = typeof challenge === 'string' && CHALLENGE_ID.test(challenge);
  event.waitUntil(show(known ? `/requests/${challenge}` : '/'));
});

/** Opens the app, nothing more: what is answered there, a person answers. */
async function show(path: string): Promise<void> {
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const shown = windows.find((window) => window.visibilityState === 'visible') ?? windows[0];
  if (shown !== undefined) {
    try {
      const focused = await shown.focus();
      focused.postMessage({ type: 'open', path });
      return;
    } catch {
      // Some browsers do not let us focus a window of theirs; they open one.
    }
  }
  await self.clients.openWindow(path);
}

// The browser may change the subscription while no page is open. What cannot be told now, the app tells at its start.
self.addEventListener('pushsubscriptionchange', (event) => {
  (event as ExtendableEvent).waitUntil(resubscribe());
});

async function resubscribe(): Promise<void> {
  const pushKey = await db.setting('pushKey');
  if (pushKey === undefined) return;
  const body = JSON.stringify(wireForm(await subscribe(self.registration, pushKey)));
  const clock = { offset: (await db.setting('clock'))?.offset ?? 0 };
  const client = new Client(self.location.origin, {
    now: () => Date.now() + clock.offset,
    learn: (time) => (clock.offset = time - Date.now()),
  });
  for (const { deviceId } of await db.accounts()) {
    const keys = await db.keys(deviceId);
    if (keys !== undefined) await client.call(keys.device, 'PUT', 'push', body).catch(() => undefined);
  }
}
