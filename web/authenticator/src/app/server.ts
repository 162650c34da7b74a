// This page's server: what it says of itself, whether it answers, and which accounts still trust it.

import { Client, RefusedError, UnreachableError } from '../protocol/client';
import type { ServerInfo } from '../protocol/messages';
import { follow } from '../protocol/pinning';
import { Watched } from '../store/state';
import { type Holder, holders, update } from './accounts';
import { clock } from './clock';

export const client = new Client(location.origin, clock);
export const info = new Watched<ServerInfo | null>(null);
export const reach = new Watched<'unknown' | 'reached' | 'unreachable'>('unknown');
/** Devices for which the server's signing key does not follow from the one that they trust. */
export const distrusted = new Watched<ReadonlySet<string>>(new Set());

const REFUSALS = ['device_unknown', 'device_removed', 'account_disabled'] as const;

/** Asks the server who it is, and follows its signing key. */
export async function askServer(): Promise<ServerInfo> {
  const server = await noticing(client.server());
  info.set(server);
  const without = new Set<string>();
  for (const { account } of holders.value) {
    const trusted = await follow(account, server);
    if (trusted === null) without.add(account.deviceId);
    else if (trusted !== account.signingKey) await update(account.deviceId, { signingKey: trusted });
  }
  distrusted.set(without);
  return server;
}

/** A request of an account. Whether the server still takes the device is kept with the account. */
export async function call(holder: Holder, method: string, path: string, body?: string): Promise<unknown> {
  return judged(holder, async (key) => client.call(key, method, path, body));
}

export async function events(holder: Holder, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  return judged(holder, async (key) => client.events(key, signal));
}

async function judged<T>({ account, keys }: Holder, request: (key: NonNullable<Holder['keys']>['device']) => Promise<T>): Promise<T> {
  if (keys === null) throw new Error('an account without its key asks for nothing');
  try {
    const answer = await noticing(request(keys.device));
    if (account.refused !== null) await update(account.deviceId, { refused: null });
    return answer;
  } catch (error) {
    const refused = error instanceof RefusedError ? REFUSALS.find((code) => code === error.code) : undefined;
    if (refused !== undefined && refused !== account.refused) await update(account.deviceId, { refused });
    throw error;
  }
}

async function noticing<T>(answer: Promise<T>): Promise<T> {
  try {
    const value = await answer;
    reach.set('reached');
    return value;
  } catch (error) {
    if (error instanceof UnreachableError) reach.set('unreachable');
    else if (error instanceof RefusedError) reach.set('reached');
    throw error;
  }
}
