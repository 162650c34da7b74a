// What the app keeps, in IndexedDB. The page and the service worker share it.

import type { DeviceKey, PublicJwk } from '../protocol/keys';
import type { Application } from '../protocol/messages';
import type { TotpSettings } from '../protocol/totp';

/** Why the server does not take this device any more. */
export type Refusal = 'device_unknown' | 'device_removed' | 'account_disabled';

/** One activation on this device. A person can have two of them for one user; none replaces another. */
export interface Account {
  deviceId: string;
  accountId: string;
  user: string;
  displayName: string;
  organization: string;
  deviceName: string;
  /** From the activation: what is trusted of this server. */
  origin: string;
  deploymentId: string;
  signingKey: PublicJwk;
  totp: TotpSettings | null;
  /** What verifies the person; accounts of before do not have it. */
  credentialId?: string | null;
  /** What sign-in windows can be opened for, as the server said last; accounts of before do not have it. */
  applications?: Application[];
  addedAt: number;
  refused: Refusal | null;
}

/** Apart from the account, so that it shows when a restored backup brought the one without the other. */
export interface Keys {
  deviceId: string;
  device: DeviceKey;
  /** An HMAC key that cannot be read. */
  totp: CryptoKey | null;
}

/** An activation that was sent and not answered yet. The same key asks for the same answer again. */
export interface PendingActivation {
  secret: { code: string } | { token: string; key: string };
  deviceName: string;
  device: DeviceKey;
  startedAt: number;
}

/** A sign-in window whose end this app does not know yet. */
export interface OpenWindow {
  id: string;
  deviceId: string;
  application: Application;
  /** Milliseconds since 1970, by the server's clock. */
  expiresAt: number;
}

export interface Settings {
  /** Chosen by hand; otherwise the browser's languages count. */
  language: string;
  /** The text of a notification in the language of the app, for the service worker. */
  notice: { title: string; body: string; lang: string; dir: 'ltr' | 'rtl' };
  /** The server's VAPID key that the subscription was made for. */
  pushKey: string;
  /** The server's clock less ours, in milliseconds, and when that was learnt. */
  clock: { offset: number; at: number };
  /** The person does not want to be asked for notifications again. */
  askedForPush: boolean;
  /** For the app that comes back. */
  windows: OpenWindow[];
}

const NAME = 'countersign';
const VERSION = 1;
let connection: Promise<IDBDatabase> | null = null;

function connect(): Promise<IDBDatabase> {
  connection ??= new Promise<IDBDatabase>((resolve, reject) => {
    const opening = indexedDB.open(NAME, VERSION);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore('accounts', { keyPath: 'deviceId' });
      opening.result.createObjectStore('keys', { keyPath: 'deviceId' });
      opening.result.createObjectStore('settings');
      opening.result.createObjectStore('pending');
    };
    opening.onerror = () => reject(opening.error);
    opening.onblocked = () => reject(new Error('another window holds the database'));
    opening.onsuccess = () => {
      // A newer version of the app in another window may go on without us.
      opening.result.onversionchange = () => {
        opening.result.close();
        connection = null;
      };
      opening.result.onclose = () => (connection = null);
      resolve(opening.result);
    };
  });
  connection.catch(() => (connection = null));
  return connection;
}

/** Runs `work` in one transaction and waits until it is on disk. */
async function transact<T>(
  stores: string | string[],
  mode: IDBTransactionMode,
  work: (transaction: IDBTransaction) => IDBRequest<T> | undefined,
): Promise<T | undefined> {
  const database = await connect();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(stores, mode, mode === 'readwrite' ? { durability: 'strict' } : {});
    const request = work(transaction);
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

export async function accounts(): Promise<Account[]> {
  const all = await transact('accounts', 'readonly', (t) => t.objectStore('accounts').getAll() as IDBRequest<Account[]>);
  return (all ?? []).sort((a, b) => a.addedAt - b.addedAt);
}

/** Undefined when there are none, or none that this browser can still use. */
export async function keys(deviceId: string): Promise<Keys | undefined> {
  try {
    const found = await transact('keys', 'readonly', (t) => t.objectStore('keys').get(deviceId) as IDBRequest<Keys>);
    return found?.device?.privateKey instanceof CryptoKey ? found : undefined;
  } catch (error) {
    // A key that was wrapped for another machine cannot be read back.
    if (error instanceof DOMException && error.name === 'DataCloneError') return undefined;
    throw error;
  }
}

/** The new account with its keys; the activation is no longer pending. */
export async function add(account: Account, itsKeys: Keys): Promise<void> {
  await transact(['accounts', 'keys', 'pending'], 'readwrite', (t) => {
    t.objectStore('accounts').add(account);
    t.objectStore('keys').add(itsKeys);
    t.objectStore('pending').clear();
    return undefined;
  });
}

/** Changes an account that is still there. */
export async function change(deviceId: string, changes: Partial<Omit<Account, 'deviceId'>>): Promise<void> {
  await transact('accounts', 'readwrite', (t) => {
    const store = t.objectStore('accounts');
    const reading = store.get(deviceId) as IDBRequest<Account | undefined>;
    reading.onsuccess = () => {
      if (reading.result !== undefined) store.put({ ...reading.result, ...changes });
    };
    return undefined;
  });
}

export async function forget(deviceId: string): Promise<void> {
  await transact(['accounts', 'keys'], 'readwrite', (t) => {
    t.objectStore('accounts').delete(deviceId);
    t.objectStore('keys').delete(deviceId);
    return undefined;
  });
}

export async function setting<K extends keyof Settings>(name: K): Promise<Settings[K] | undefined> {
  return transact('settings', 'readonly', (t) => t.objectStore('settings').get(name) as IDBRequest<Settings[K] | undefined>);
}

export async function set<K extends keyof Settings>(name: K, value: Settings[K] | undefined): Promise<void> {
  await transact('settings', 'readwrite', (t) => {
    const store = t.objectStore('settings');
    if (value === undefined) store.delete(name);
    else store.put(value, name);
    return undefined;
  });
}

export async function pending(): Promise<PendingActivation | undefined> {
  return transact('pending', 'readonly', (t) => t.objectStore('pending').get('activation') as IDBRequest<PendingActivation | undefined>);
}

export async function setPending(activation: PendingActivation | null): Promise<void> {
  await transact('pending', 'readwrite', (t) => {
    if (activation === null) t.objectStore('pending').clear();
    else t.objectStore('pending').put(activation, 'activation');
    return undefined;
  });
}
