// Sign-in windows that this app opened, from the press of the button to what became of them.

import { type Bytes, randomToken } from '../protocol/bytes';
import { RefusedError, UnreachableError } from '../protocol/client';
import { type Application, type WindowEnd, readApplications, readWindowAnswer, readWindowState } from '../protocol/messages';
import { verifyUser } from '../protocol/webauthn';
import { type WindowRefusal, windowRefusal, windowRequest } from '../protocol/window';
import { set, setting } from '../store/db';
import { Watched } from '../store/state';
import { type Holder, holderOf, update } from './accounts';
import { hear, tell } from './channel';
import { clock } from './clock';
import { go, route } from './route';
import { call } from './server';

export type WindowStage =
  | { kind: 'opening' }
  | { kind: 'open'; expiresAt: number }
  | { kind: 'ended'; state: WindowEnd }
  | { kind: 'refused'; refusal: WindowRefusal };

export interface SignInWindow {
  id: string;
  deviceId: string;
  application: Application;
  stage: WindowStage;
}

export const windows = new Watched<readonly SignInWindow[]>([]);

/** How long the check of the person may take, in milliseconds. */
const CHECK_MS = 60_000;
const RETRIES_MS = [500, 1_000, 2_000, 4_000];
/** How often the server is asked what became of a window whose time is over. */
const SETTLE_MS = 2_000;
/** What became of a window is told for so long after its time. */
const REMEMBERED_MS = 10 * 60_000;

/** What was sent and perhaps not received: sent again, it opens no second window. */
const unanswered = new Map<string, string>();

export function findWindow(id: string): SignInWindow | undefined {
  return windows.value.find((window) => window.id === id);
}

/** The window that waits for this account's sign-in to this application. */
export function runningWindow(deviceId: string, applicationId: string): SignInWindow | undefined {
  return windows.value.find(
    ({ stage, ...window }) =>
      window.deviceId === deviceId && window.application.id === applicationId && (stage.kind === 'opening' || stage.kind === 'open'),
  );
}

/** Asks what windows can be opened for. */
export async function learnApplications(holder: Holder): Promise<void> {
  const { deviceId } = holder.account;
  const applications = readApplications(await call(holder, 'GET', 'applications'));
  const known = holderOf(deviceId)?.account.applications ?? [];
  if (JSON.stringify(applications) !== JSON.stringify(known)) await update(deviceId, { applications });
}

/** Opens a window and gives its id at once. `unverified`: without the check of the person that this device could do. */
export function openWindow(holder: Holder, application: Application, unverified = false): string {
  const id = randomToken();
  const { deviceId } = holder.account;
  windows.set([...windows.value, { id, deviceId, application, stage: { kind: 'opening' } }]);
  void request(id, holder, unverified);
  return id;
}

/** After a refusal or an end: the same request where it may have arrived, otherwise a new one. Gives the id to look at. */
export function openAgain(id: string, unverified = false): string {
  const window = findWindow(id);
  const holder = window && holderOf(window.deviceId);
  if (window === undefined || holder === undefined) return id;
  if (!unanswered.has(id)) return openWindow(holder, window.application, unverified);
  setStage(id, { kind: 'opening' });
  void request(id, holder, unverified);
  return id;
}

async function request(id: string, holder: Holder, unverified: boolean): Promise<void> {
  const window = findWindow(id);
  if (window === undefined) return;
  try {
    const body = unanswered.get(id) ?? (await signed(window, holder, unverified));
    unanswered.set(id, body);
    const expiresAt = readWindowAnswer(await send(holder, body));
    unanswered.delete(id);
    // The stream may have told its end already.
    if (findWindow(id)?.stage.kind !== 'opening') return;
    setStage(id, { kind: 'open', expiresAt });
    void settle(id);
    await keepOpen();
  } catch (error) {
    const refusal = windowRefusal(error);
    if (refusal.kind !== 'unreachable') unanswered.delete(id);
    if (refusal.kind === 'user_verification_unsupported') await update(holder.account.deviceId, { credentialId: null });
    if (findWindow(id)?.stage.kind === 'opening') setStage(id, { kind: 'refused', refusal });
  }
}

async function signed({ id, application }: SignInWindow, { account, keys }: Holder, unverified: boolean): Promise<string> {
  if (keys === null) throw new Error('no key');
  const credential = unverified ? null : (account.credentialId ?? null);
  // What an application asks for is not known beforehand, so whoever can be verified is.
  const check = credential === null ? null : (octets: Bytes) => verifyUser(credential, octets, CHECK_MS, AbortSignal.timeout(CHECK_MS));
  return windowRequest(account, keys.device, id, application.id, new Date().toISOString(), check);
}

async function send(holder: Holder, body: string): Promise<unknown> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call(holder, 'POST', 'windows', body);
    } catch (error) {
      const passing = error instanceof UnreachableError || (error instanceof RefusedError && error.status >= 500);
      const wait = RETRIES_MS[attempt];
      if (!passing || wait === undefined) throw error;
      await pause(wait);
    }
  }
}

function setStage(id: string, stage: WindowStage): void {
  windows.set(windows.value.map((window) => (window.id === id ? { ...window, stage } : window)));
}

/** So that an app that the phone ended meanwhile can still tell what became of them. */
async function keepOpen(): Promise<void> {
  const open = windows.value.flatMap(({ id, deviceId, application, stage }) =>
    stage.kind === 'open' ? [{ id, deviceId, application, expiresAt: stage.expiresAt }] : [],
  );
  await set('windows', open).catch(() => undefined);
}

/** The server said what became of a window. */
export function windowEnded(id: string, state: WindowEnd): void {
  const window = findWindow(id);
  if (window === undefined || window.stage.kind === 'ended') return;
  unanswered.delete(id);
  setStage(id, { kind: 'ended', state });
  void keepOpen();
  // Whoever looked at an account meanwhile is told.
  if (route.value.name === 'account' || route.value.name === 'accounts') go(`/windows/${id}`);
}

/** Asks about the open windows of an account. */
export async function checkWindows(holder: Holder): Promise<void> {
  for (const { id, deviceId, stage } of windows.value) {
    if (deviceId === holder.account.deviceId && stage.kind === 'open') await look(id, holder);
  }
}

async function look(id: string, holder: Holder): Promise<void> {
  try {
    const state = readWindowState(await call(holder, 'GET', `windows/${id}`));
    if (state === 'open') return;
    tell({ type: 'window closed', id, state });
    windowEnded(id, state);
  } catch (error) {
    // A server that does not know it lets nobody in by it.
    if (!(error instanceof RefusedError) || error.code !== 'not_found') throw error;
    windowEnded(id, 'cancelled');
  }
}

/** The stream tells the end; where it does not, the server is asked once the time is over, until it knows. */
async function settle(id: string): Promise<void> {
  for (;;) {
    const window = findWindow(id);
    if (window?.stage.kind !== 'open') return;
    const left = window.stage.expiresAt - clock.now();
    if (left < -REMEMBERED_MS) return forgetWindow(id);
    if (left > 0) await pause(left);
    const holder = holderOf(window.deviceId);
    if (holder === undefined || holder.keys === null) return forgetWindow(id);
    await look(id, holder).catch(() => undefined);
    await pause(SETTLE_MS);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function forgetWindow(id: string): void {
  windows.set(windows.value.filter((window) => window.id !== id));
  void keepOpen();
}

/** Takes up what was open when the app was closed, and shows it. */
export async function resumeWindows(): Promise<void> {
  const kept = (await setting('windows')) ?? [];
  const oldest = clock.now() - REMEMBERED_MS;
  const known = kept.filter(({ deviceId, expiresAt }) => expiresAt > oldest && holderOf(deviceId) !== undefined);
  windows.set(known.map(({ id, deviceId, application, expiresAt }) => ({ id, deviceId, application, stage: { kind: 'open', expiresAt } })));
  for (const { id, deviceId } of known) {
    const holder = holderOf(deviceId);
    if (holder?.keys) void look(id, holder).catch(() => undefined);
    void settle(id);
  }
  const newest = known.at(-1);
  if (newest !== undefined && route.value.name === 'accounts') go(`/windows/${newest.id}`, 'replace');
}

hear((message) => {
  if (message.type === 'window closed') windowEnded(message.id, message.state);
});
