// The browser's push subscription; the page and the service worker share it.

import { fromBase64url, toBase64url } from '../protocol/bytes';

/** Some browsers never say that their push service cannot be reached. */
const SUBSCRIBE_MS = 20_000;

export class SubscribeTimeout extends Error {
  override name = 'SubscribeTimeout';
}

/** The subscription for this server's key; one for another key is given up. */
export async function subscribe(registration: ServiceWorkerRegistration, pushKey: string): Promise<PushSubscription> {
  const existing = await registration.pushManager.getSubscription();
  if (existing !== null) {
    if (isFor(existing, pushKey)) return existing;
    await existing.unsubscribe();
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new SubscribeTimeout()), SUBSCRIBE_MS);
  });
  try {
    return await Promise.race([registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: fromBase64url(pushKey) }), late]);
  } finally {
    clearTimeout(timer);
  }
}

export function isFor(subscription: PushSubscription, pushKey: string): boolean {
  const key = subscription.options.applicationServerKey;
  return key !== null && toBase64url(new Uint8Array(key)) === pushKey;
}

/** As the server wants it. */
export function wireForm(subscription: PushSubscription): { endpoint: string; p256dh: string; auth: string } {
  const member = (name: PushEncryptionKeyName) => {
    const octets = subscription.getKey(name);
    if (octets === null) throw new Error('a subscription without keys');
    return toBase64url(new Uint8Array(octets));
  };
  return { endpoint: subscription.endpoint, p256dh: member('p256dh'), auth: member('auth') };
}
