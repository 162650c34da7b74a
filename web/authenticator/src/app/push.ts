// Notifications: whether they can come, and that the server knows where to send them.

import * as db from '../store/db';
import { Watched } from '../store/state';
import { able, type Holder } from './accounts';
import { info, call } from './server';
import { isFor, subscribe, wireForm } from './subscription';

export type PushState =
  /** Not known yet. */
  | 'unknown'
  /** This server sends none. */
  | 'off'
  /** This browser cannot. */
  | 'unsupported'
  /** Nobody was asked yet. */
  | 'ask'
  | 'refused'
  | 'starting'
  | 'on'
  /** The browser's push service did not answer, or said no. */
  | 'failed';

export const pushState = new Watched<PushState>('unknown');
/** The person said "not now". */
export const postponed = new Watched(false);

/** At each start: sees how things stand, and tells the server of every account. */
export async function syncPush(): Promise<void> {
  postponed.set((await db.setting('askedForPush')) === true);
  const pushKey = info.value?.pushKey;
  if (pushKey === undefined) return;
  if (pushKey === null) return pushState.set('off');
  if (!('serviceWorker' in navigator && 'PushManager' in globalThis && 'Notification' in globalThis)) return pushState.set('unsupported');
  if (Notification.permission === 'denied') {
    pushState.set('refused');
    if ((await db.setting('pushKey')) !== undefined) await withdraw();
    return;
  }
  if (Notification.permission === 'default') return pushState.set('ask');
  if (able().length === 0) return;
  pushState.set('starting');
  const body = await currentSubscription(pushKey);
  if (body === null) return pushState.set('failed');
  const sent = await Promise.allSettled(able().map((holder) => call(holder, 'PUT', 'push', JSON.stringify(body))));
  // What was not sent now is sent at the next start.
  pushState.set(sent.every(({ status }) => status === 'fulfilled') ? 'on' : 'failed');
}

/** Asks the person; must be called from a tap. */
export async function turnOn(): Promise<void> {
  const permission = await Notification.requestPermission();
  pushState.set(permission === 'granted' ? 'starting' : permission === 'denied' ? 'refused' : 'ask');
  await syncPush();
}

export async function postpone(): Promise<void> {
  await db.set('askedForPush', true);
  postponed.set(true);
}

/** For a new account: the subscription that is there already. A new one may take its time, and is told afterwards. */
export async function subscriptionForActivation(): Promise<ReturnType<typeof wireForm> | null> {
  const pushKey = info.value?.pushKey ?? null;
  if (pushKey === null || pushState.value === 'unsupported' || globalThis.Notification?.permission !== 'granted') return null;
  try {
    const registration = await navigator.serviceWorker.getRegistration();
    const subscription = (await registration?.pushManager.getSubscription()) ?? null;
    return subscription !== null && isFor(subscription, pushKey) ? wireForm(subscription) : null;
  } catch {
    return null;
  }
}

/** The last account goes: nobody is to push here any more. */
export async function endPush(): Promise<void> {
  const registration = await navigator.serviceWorker?.getRegistration();
  await (await registration?.pushManager?.getSubscription())?.unsubscribe();
  await db.set('pushKey', undefined);
}

async function currentSubscription(pushKey: string): Promise<ReturnType<typeof wireForm> | null> {
  try {
    const subscription = await subscribe(await navigator.serviceWorker.ready, pushKey);
    await db.set('pushKey', pushKey);
    return wireForm(subscription);
  } catch {
    return null;
  }
}

async function withdraw(): Promise<void> {
  const gone = (holder: Holder) => call(holder, 'PUT', 'push', 'null');
  const told = await Promise.allSettled(able().map(gone));
  if (told.every(({ status }) => status === 'fulfilled')) await db.set('pushKey', undefined);
}
