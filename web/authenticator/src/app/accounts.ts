import * as db from '../store/db';
import { Watched } from '../store/state';
import { hear, tell } from './channel';

/** An account, and its keys unless they were lost. */
export interface Holder {
  account: db.Account;
  keys: db.Keys | null;
}

export const holders = new Watched<readonly Holder[]>([]);

export async function load(): Promise<void> {
  const accounts = await db.accounts();
  holders.set(await Promise.all(accounts.map(async (account) => ({ account, keys: (await db.keys(account.deviceId)) ?? null }))));
}

/** Those that can speak to the server. */
export function able(): Holder[] {
  return holders.value.filter(({ keys }) => keys !== null);
}

export function holderOf(deviceId: string): Holder | undefined {
  return holders.value.find(({ account }) => account.deviceId === deviceId);
}

export async function keep(account: db.Account, keys: db.Keys): Promise<void> {
  await db.add(account, keys);
  await changed();
}

export async function update(deviceId: string, changes: Partial<Omit<db.Account, 'deviceId'>>): Promise<void> {
  await db.change(deviceId, changes);
  await changed();
}

export async function forget(deviceId: string): Promise<void> {
  await db.forget(deviceId);
  await changed();
}

async function changed(): Promise<void> {
  await load();
  tell({ type: 'accounts changed' });
}

hear((message) => {
  if (message.type === 'accounts changed') void load();
});
