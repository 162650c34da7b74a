// A new account, from a code or a QR code to the list.

import type { ActivationLink } from '../protocol/activation';
import { RefusedError, UnreachableError } from '../protocol/client';
import { makeDeviceKey, thumbprint } from '../protocol/keys';
import { type ServerInfo, readActivated } from '../protocol/messages';
import { importSeed } from '../protocol/totp';
import * as db from '../store/db';
import { keep } from './accounts';
import { isAppleTab, keepStorage, platform, storage } from './environment';
import { subscriptionForActivation, syncPush } from './push';
import { askServer, client } from './server';

export type ActivationProblem =
  | 'unknown'
  | 'device limit'
  | 'too many attempts'
  | 'unreachable'
  | 'other address'
  | 'other server'
  | 'clock'
  | 'storage'
  | 'refused';

export class ActivationError extends Error {
  override name = 'ActivationError';
  constructor(
    readonly problem: ActivationProblem,
    /** What the message names: an address, or seconds. */
    readonly detail = '',
  ) {
    super(problem);
  }
}

export type Secret = { code: string } | { link: ActivationLink };

/** How long an activation lives. */
const LIFE_MS = 10 * 60_000;

export async function activate(secret: Secret, deviceName: string): Promise<db.Account> {
  if (isAppleTab() || storage.value === 'private' || storage.value === 'none') throw new ActivationError('storage');
  const kept = 'code' in secret ? { code: secret.code } : { token: secret.link.token, key: secret.link.key };
  try {
    return await send(await begin(kept, deviceName));
  } catch (error) {
    throw await problemOf(error);
  }
}

/** An activation that was sent, and whose answer never came. */
export async function interrupted(): Promise<db.PendingActivation | null> {
  const pending = await db.pending();
  if (pending === undefined) return null;
  if (Date.now() - pending.startedAt < LIFE_MS) return pending;
  await db.setPending(null);
  return null;
}

/** Asks again, with the same key and the same secret. */
export async function resume(pending: db.PendingActivation): Promise<db.Account> {
  try {
    return await send(pending);
  } catch (error) {
    throw await problemOf(error);
  }
}

/** The key is stored before anybody hears of it: an answer that is lost on its way can be asked for again. */
async function begin(secret: db.PendingActivation['secret'], deviceName: string): Promise<db.PendingActivation> {
  const before = await interrupted();
  if (before !== null && JSON.stringify(before.secret) === JSON.stringify(secret)) return before;
  const pending = { secret, deviceName, device: await makeDeviceKey(), startedAt: Date.now() };
  await db.setPending(pending);
  return pending;
}

async function send(pending: db.PendingActivation): Promise<db.Account> {
  const server = await trustedServer(pending.secret);
  const secret = 'code' in pending.secret ? { code: pending.secret.code } : { token: pending.secret.token };
  const body = JSON.stringify({
    ...secret,
    device: { name: pending.deviceName, platform: platform() },
    push: await subscriptionForActivation(),
  });
  const answer = readActivated(await client.call(pending.device, 'POST', 'activations', body));
  const same =
    answer.server.origin === server.origin &&
    answer.server.deploymentId === server.deploymentId &&
    (await thumbprint(answer.server.signingKey)) === (await thumbprint(server.signingKey));
  if (!same) throw new ActivationError('other server');
  const account: db.Account = {
    deviceId: answer.deviceId,
    accountId: answer.account.id,
    user: answer.account.user,
    displayName: answer.account.displayName,
    organization: answer.account.organization,
    deviceName: pending.deviceName,
    origin: server.origin,
    deploymentId: server.deploymentId,
    signingKey: server.signingKey,
    totp: answer.totp?.settings ?? null,
    addedAt: Date.now(),
    refused: null,
  };
  await keep(account, {
    deviceId: answer.deviceId,
    device: pending.device,
    totp: answer.totp && (await importSeed(answer.totp.secret, answer.totp.settings.algorithm)),
  });
  // Neither is waited for: some browsers ask the person first.
  void keepStorage().catch(() => undefined);
  void syncPush();
  return account;
}

async function trustedServer(secret: db.PendingActivation['secret']): Promise<ServerInfo> {
  const server = await askServer();
  if (server.origin !== location.origin) throw new ActivationError('other address', server.origin);
  if ('key' in secret && secret.key !== (await thumbprint(server.signingKey))) throw new ActivationError('other server');
  return server;
}

async function problemOf(error: unknown): Promise<ActivationError> {
  if (error instanceof ActivationError) return error;
  if (error instanceof UnreachableError) return new ActivationError('unreachable');
  if (!(error instanceof RefusedError)) return new ActivationError('refused');
  // The server has spoken: this key and this secret will not be asked about again.
  if (error.status < 500 && error.status !== 429) await db.setPending(null);
  if (error.code === 'activation_unknown') return new ActivationError('unknown');
  if (error.code === 'device_limit') return new ActivationError('device limit');
  if (error.code === 'too_many_attempts') return new ActivationError('too many attempts', String(error.retryAfter));
  if (error.code === 'proof_expired') return new ActivationError('clock');
  return new ActivationError('refused');
}
