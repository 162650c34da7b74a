// Sign-ins that ask for an answer, from their first word to their result.

import { type Challenge, type Decision, decide, open } from '../protocol/challenge';
import { RefusedError, UnreachableError } from '../protocol/client';
import { UnverifiedError, verifyUser } from '../protocol/webauthn';
import {
  type ClosingState,
  type WireChallenge,
  isClosing,
  readChallenges,
  readDecisionAnswer,
  readState,
} from '../protocol/messages';
import type { Parties } from '../protocol/signed';
import type { Account } from '../store/db';
import { Watched } from '../store/state';
import { type Holder, able, holderOf, update } from './accounts';
import { hear, tell } from './channel';
import { clock } from './clock';
import { askServer, call } from './server';

export type Stage =
  | { kind: 'waiting'; problem: Problem | null }
  | { kind: 'sending'; decision: Decision }
  | { kind: 'code'; code: string; problem: Problem | null }
  | { kind: 'ended'; state: ClosingState; numberWrong: boolean; report: 'no' | 'sending' | 'sent' | 'failed' };

/** Why an answer did not count; the sign-in waits on. */
export type Problem = 'unreachable' | 'refused' | 'number needed' | Unverified;
/** Why the person was not verified. */
export type Unverified = 'cancelled' | 'impossible' | 'not accepted' | 'not set up';

export interface SignIn {
  holder: Holder;
  challenge: Challenge;
  stage: Stage;
}

/** In the order in which they came. */
export const signIns = new Watched<readonly SignIn[]>([]);
/** Something came that cannot be shown: not signed by our server, or of a later version. */
export const unreadable = new Watched<'no' | 'bad' | 'newer'>('no');

/** How long the server takes reports after the end. */
const REPORTS_MS = 10 * 60_000;
const RETRIES_MS = [500, 1_000, 2_000, 4_000, 8_000];

export function isOver({ stage }: SignIn): boolean {
  return stage.kind === 'ended';
}

export function waiting(): SignIn[] {
  return signIns.value.filter((signIn) => !isOver(signIn));
}

export function find(id: string): SignIn | undefined {
  return signIns.value.find(({ challenge }) => challenge.id === id);
}

function partiesOf({ origin, deploymentId, accountId, deviceId }: Account): Parties {
  return { origin, deploymentId, accountId, deviceId };
}

function setStage(id: string, stage: Stage): void {
  signIns.set(signIns.value.map((signIn) => (signIn.challenge.id === id ? { ...signIn, stage } : signIn)));
}

/** Verifies a challenge and puts it among the sign-ins. One that does not verify leaves no trace but a notice. */
export async function take(deviceId: string, wire: WireChallenge): Promise<void> {
  const holder = holderOf(deviceId);
  if (holder === undefined || holder.keys === null || find(wire.id) !== undefined) return;
  let opened = await open(wire, partiesOf(holder.account), holder.account.signingKey);
  if (opened.kind === 'other key') {
    await askServer();
    const again = holderOf(deviceId);
    if (again === undefined) return;
    opened = await open(wire, partiesOf(again.account), again.account.signingKey);
  }
  if (opened.kind !== 'good') return unreadable.set(opened.kind === 'newer' ? 'newer' : 'bad');
  const { challenge } = opened;
  if (find(challenge.id) !== undefined || challenge.context.expiresAt <= clock.now()) return;
  prune();
  signIns.set([...signIns.value, { holder, challenge, stage: { kind: 'waiting', problem: null } }]);
  setTimeout(() => ended(challenge.id, 'expired'), challenge.context.expiresAt - clock.now());
}

function prune(): void {
  const oldest = clock.now() - REPORTS_MS;
  signIns.set(signIns.value.filter((signIn) => !isOver(signIn) || signIn.challenge.context.expiresAt > oldest));
}

/** The first end counts, except that the server knows better than our own clock. */
export function ended(id: string, state: ClosingState, numberWrong = false): void {
  const signIn = find(id);
  if (signIn === undefined) return;
  const { stage } = signIn;
  if (stage.kind === 'ended' && stage.state !== 'expired') return;
  // An answer is on its way: it says how the sign-in ended.
  if (stage.kind === 'sending' && state === 'expired') return;
  setStage(id, { kind: 'ended', state, numberWrong, report: stage.kind === 'ended' ? stage.report : 'no' });
  void clearNotice(id);
}

async function clearNotice(id: string): Promise<void> {
  const registration = await navigator.serviceWorker?.getRegistration();
  for (const notification of (await registration?.getNotifications({ tag: id })) ?? []) notification.close();
}

/** Asks the server what waits, for one account. */
export async function check(holder: Holder): Promise<void> {
  const { deviceId } = holder.account;
  const known = holderOf(deviceId)?.account.credentialId ?? null;
  const { challenges: listed, credentialId } = readChallenges(await call(holder, 'GET', 'challenges'));
  // What was set up or taken away meanwhile is newer than this answer.
  const unchanged = (holderOf(deviceId)?.account.credentialId ?? null) === known;
  if (unchanged && credentialId !== known) await update(deviceId, { credentialId });
  for (const wire of listed) await take(holder.account.deviceId, wire);
  for (const { challenge, stage } of signIns.value.filter((signIn) => signIn.holder.account.deviceId === holder.account.deviceId)) {
    if ((stage.kind !== 'waiting' && stage.kind !== 'code') || listed.some(({ id }) => id === challenge.id)) continue;
    const state = await stateOf(holder, challenge.id);
    if (state !== null && isClosing(state)) ended(challenge.id, state);
  }
}

export async function checkAll(): Promise<void> {
  await Promise.allSettled(able().map(check));
}

async function stateOf(holder: Holder, id: string): Promise<string | null> {
  try {
    return readState(await call(holder, 'GET', `challenges/${id}`));
  } catch (error) {
    if (error instanceof RefusedError && error.code === 'not_found') return null;
    throw error;
  }
}

/** How a sign-in ended that this app never saw; null if no account of ours knows it. */
export async function lookUp(id: string): Promise<ClosingState | null> {
  for (const holder of able()) {
    const state = await stateOf(holder, id).catch(() => null);
    if (state !== null && isClosing(state)) return state;
  }
  return null;
}

/** Answers a sign-in. The same octets are sent again until an answer comes: the server counts them once. */
export async function answer(id: string, decision: Decision, number: string | null = null, unverified = false): Promise<void> {
  const signIn = find(id);
  if (signIn === undefined || (signIn.stage.kind !== 'waiting' && signIn.stage.kind !== 'code')) return;
  const before = signIn.stage;
  setStage(id, { kind: 'sending', decision });
  try {
    const result = await send(signIn, decision, number, unverified);
    if (result.state === 'code_shown') setStage(id, { kind: 'code', code: result.code, problem: null });
    else end(id, result.state, decision === 'deny_report');
  } catch (error) {
    if (error instanceof RefusedError && error.code === 'number_wrong') return end(id, 'denied', false, true);
    if (error instanceof RefusedError && error.code === 'challenge_closed') {
      const state = String(error.problem.state);
      if (isClosing(state)) return end(id, state, false);
    }
    // It may have ended while the person was being asked.
    if (find(id)?.stage.kind === 'ended') return;
    if (clock.now() >= signIn.challenge.context.expiresAt) return end(id, 'expired', false);
    if (error instanceof RefusedError && error.code === 'user_verification_unsupported') {
      await update(signIn.holder.account.deviceId, { credentialId: null });
    }
    setStage(id, { ...before, problem: problemOf(error) });
  }
}

function end(id: string, state: ClosingState, reported: boolean, numberWrong = false): void {
  setStage(id, { kind: 'ended', state, numberWrong, report: reported ? 'sent' : 'no' });
  tell({ type: 'closed', id, state });
  void clearNotice(id);
}

function problemOf(error: unknown): Problem {
  if (error instanceof UnreachableError) return 'unreachable';
  if (error instanceof UnverifiedError) return error.reason;
  if (!(error instanceof RefusedError)) return 'refused';
  if (error.code === 'number_required') return 'number needed';
  if (error.code === 'assertion_invalid') return 'not accepted';
  return error.code.startsWith('user_verification') ? 'not set up' : 'refused';
}

/** Says "that was not me" after the end. */
export async function report(id: string): Promise<void> {
  const signIn = find(id);
  if (signIn === undefined || signIn.stage.kind !== 'ended' || signIn.stage.report === 'sending') return;
  const { stage } = signIn;
  setStage(id, { ...stage, report: 'sending' });
  try {
    const result = await send(signIn, 'deny_report', null);
    const state = result.state === 'code_shown' ? stage.state : result.state;
    setStage(id, { ...stage, state, report: 'sent' });
  } catch {
    setStage(id, { ...stage, report: 'failed' });
  }
}

/** How this device verifies its user; null where nobody asks for it, or it has not been set up. */
export function credentialFor({ holder, challenge }: SignIn): string | null {
  if (challenge.userVerification === 'none') return null;
  return holderOf(holder.account.deviceId)?.account.credentialId ?? null;
}

async function send(signIn: SignIn, decision: Decision, number: string | null, unverified = false) {
  const { holder, challenge } = signIn;
  if (holder.keys === null) throw new Error('no key');
  const { device } = holder.keys;
  const credential = decision === 'verify' && !unverified ? credentialFor(signIn) : null;
  const body = await untilEnded(challenge.id, (signal) =>
    decide(
      challenge,
      partiesOf(holder.account),
      device,
      decision,
      number,
      new Date().toISOString(),
      credential === null ? null : (octets) => verifyUser(credential, octets, challenge.context.expiresAt - clock.now(), signal),
    ),
  );
  for (let attempt = 0; ; attempt += 1) {
    try {
      return readDecisionAnswer(await call(holder, 'POST', `challenges/${challenge.id}/decision`, body));
    } catch (error) {
      const passing = error instanceof UnreachableError || (error instanceof RefusedError && error.status >= 500);
      const pause = RETRIES_MS[attempt];
      if (!passing || pause === undefined) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

/** Takes a question to the person away when the sign-in ends. */
async function untilEnded<T>(id: string, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController();
  const unwatch = signIns.watch(() => {
    if (find(id)?.stage.kind === 'ended') over.abort();
  });
  return ask(over.signal).finally(unwatch);
}

hear((message) => {
  if (message.type === 'challenge') void take(message.deviceId, message.wire);
  if (message.type === 'closed') ended(message.id, message.state);
});
