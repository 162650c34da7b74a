// What happens when the app starts, and what it does on its own while it runs.

import { type LinkReading, readLink } from '../protocol/activation';
import { loadLanguage } from '../i18n';
import { Watched } from '../store/state';
import { load } from './accounts';
import { type ActivationError, interrupted } from './activate';
import { recallClock } from './clock';
import { examineStorage, worker } from './environment';
import { syncPush } from './push';
import { checkAll, isOver, signIns, waiting } from './requests';
import { go, route } from './route';
import { askServer } from './server';
import { examineVerification } from './verification';
import { resumeWindows } from './windows';
import { listen } from './stream';
import type { PendingActivation } from '../store/db';

/** The QR code that brought the person here, or that the camera saw. */
export const offered = new Watched<LinkReading | null>(null);
export const unfinished = new Watched<{ pending: PendingActivation; problem: ActivationError | null } | null>(null);

export async function start(): Promise<void> {
  takeLink();
  addEventListener('hashchange', takeLink);
  await Promise.all([loadLanguage(), examineStorage(), examineVerification(), recallClock().catch(() => undefined), load().catch(() => undefined)]);
  await resumeWindows().catch(() => undefined);
  signIns.watch(showWaiting);
  listen();
  void startWorker();
  void meetServer();
  addEventListener('online', () => void meetServer());
  const pending = await interrupted().catch(() => null);
  if (pending !== null) unfinished.set({ pending, problem: null });
}

/** The secret leaves the address bar, and with it the history, at once. */
function takeLink(): void {
  if (location.pathname !== '/activate' || location.hash === '') return;
  offered.set(readLink(location.href));
  history.replaceState(history.state, '', '/activate');
}

export async function meetServer(): Promise<void> {
  try {
    await askServer();
    await syncPush();
  } catch {
    // `reach` says so; the stream and the next start try again.
  }
}

/** A sign-in comes to the front, unless another one is there already or an account is being added. */
function showWaiting(): void {
  const { name } = route.value;
  const next = waiting()[0];
  if (next === undefined || name === 'request' || name === 'scan' || name === 'manual' || name === 'activate') return;
  go(`/requests/${next.challenge.id}`);
}

async function startWorker(): Promise<void> {
  if (!('serviceWorker' in navigator)) return worker.set('unsupported');
  navigator.serviceWorker.addEventListener('message', ({ data }) => {
    if (data?.type === 'open' && typeof data.path === 'string') {
      if (data.path.startsWith('/requests/') && location.pathname !== data.path) go(data.path);
      void checkAll();
    }
    if (data?.type === 'push') void checkAll();
  });
  let controlled = navigator.serviceWorker.controller !== null;
  navigator.serviceWorker.addEventListener('controllerchange', () => {
    // The first worker takes over a page that it fits; a later one brings another version of the page.
    if (controlled) reloadWhenIdle();
    controlled = true;
  });
  try {
    const registration = await navigator.serviceWorker.register(scriptUrl('/sw.js'), { scope: '/', updateViaCache: 'none' });
    worker.set('running');
    takeOver(registration);
    registration.addEventListener('updatefound', () => {
      registration.installing?.addEventListener('statechange', () => takeOver(registration));
    });
    await registration.update().catch(() => undefined);
  } catch (error) {
    worker.set(error instanceof DOMException && error.name === 'SecurityError' ? 'not trusted' : 'failed');
  }
}

/** Somebody is in the middle of something. */
function isBusy(): boolean {
  return route.value.name !== 'accounts' || signIns.value.some((signIn) => !isOver(signIn));
}

/** A new version starts at once, unless somebody is busy. */
function takeOver(registration: ServiceWorkerRegistration): void {
  if (registration.waiting !== null && navigator.serviceWorker.controller !== null && !isBusy()) registration.waiting.postMessage('take over');
}

/** Another window may have let the new version in. */
function reloadWhenIdle(): void {
  const reload = () => {
    if (!isBusy()) location.reload();
  };
  route.watch(reload);
  signIns.watch(reload);
  reload();
}

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): unknown };
}

/** The one script address that the app makes itself; the content security policy allows just this policy. */
function scriptUrl(url: '/sw.js'): string {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  if (trustedTypes === undefined) return url;
  return trustedTypes.createPolicy('countersign', { createScriptURL: () => url }).createScriptURL(url) as string;
}
