// What this browser can do and what the app must tell about it.

import { Watched } from '../store/state';

/** Running from the home screen or as an installed app, not in a browser's tab. */
export function isInstalled(): boolean {
  const safari = navigator as Navigator & { standalone?: boolean };
  return safari.standalone === true || matchMedia('(display-mode: standalone), (display-mode: fullscreen), (display-mode: minimal-ui)').matches;
}

export function isApple(): boolean {
  // An iPad says that it is a Macintosh, but no Macintosh has a touch screen.
  return /iPhone|iPad|iPod/.test(navigator.userAgent) || (/Macintosh/.test(navigator.userAgent) && navigator.maxTouchPoints > 1);
}

/** The storage of a tab on an iPhone is not that of the app on the home screen, and is cleared after a week. */
export function isAppleTab(): boolean {
  return isApple() && !isInstalled();
}

export type Storage = 'kept' | 'may be cleared' | 'private' | 'none';

export const storage = new Watched<Storage>('kept');
export const worker = new Watched<'starting' | 'running' | 'unsupported' | 'failed' | 'not trusted'>('starting');
/** The browser offers to install the app. */
export const installOffer = new Watched<InstallOffer | null>(null);

interface InstallOffer extends Event {
  prompt(): Promise<unknown>;
}

addEventListener('beforeinstallprompt', (event) => {
  event.preventDefault();
  installOffer.set(event as InstallOffer);
});
addEventListener('appinstalled', () => installOffer.set(null));

/** Asks how long this browser keeps what is stored here. A window that forgets everything shows in its file system. */
export async function examineStorage(): Promise<void> {
  const opened = await new Promise<boolean>((resolve) => {
    try {
      const opening = indexedDB.open('countersign-probe');
      opening.onsuccess = () => {
        opening.result.close();
        indexedDB.deleteDatabase('countersign-probe');
        resolve(true);
      };
      opening.onerror = () => resolve(false);
    } catch {
      resolve(false);
    }
  });
  if (!opened) return storage.set('none');
  try {
    await navigator.storage.getDirectory?.();
  } catch {
    return storage.set('private');
  }
  const persisted = await navigator.storage?.persisted?.().catch(() => false);
  storage.set(persisted === true ? 'kept' : 'may be cleared');
}

/** Asks the browser to keep what is stored; some ask the person. */
export async function keepStorage(): Promise<void> {
  if (storage.value === 'may be cleared' && (await navigator.storage?.persist?.()) === true) storage.set('kept');
}

/** What a person would call this device. */
export function deviceNameGuess(): string {
  const agent = navigator.userAgent;
  if (/iPhone|iPod/.test(agent)) return 'iPhone';
  if (isApple()) return 'iPad';
  if (/Android/.test(agent)) return 'Android';
  if (/Windows/.test(agent)) return 'Windows';
  if (/Macintosh/.test(agent)) return 'Mac';
  return /Linux/.test(agent) ? 'Linux' : 'Browser';
}

export function platform(): string {
  return isApple() ? 'ios' : deviceNameGuess().toLowerCase();
}
