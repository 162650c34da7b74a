// What the server says, read strictly where something hangs on it; members that are not named here are ignored.

import { fromUtf8, fromBase64url } from './bytes';
import { type PublicJwk, publicJwk } from './keys';
import { type TotpSettings, totpSettings } from './totp';

export interface Endorsement {
  thumbprint: string;
  by: PublicJwk;
  signature: string;
}

export interface ServerInfo {
  organization: string;
  deploymentId: string;
  origin: string;
  /** Milliseconds since 1970. */
  time: number;
  pushKey: string | null;
  signingKey: PublicJwk;
  endorsements: Endorsement[];
}

export interface Activated {
  deviceId: string;
  account: { id: string; user: string; displayName: string; organization: string };
  server: ServerInfo;
  totp: { secret: string; settings: TotpSettings } | null;
}

export interface WireChallenge {
  id: string;
  nonce: string;
  context: string;
  signature: string;
  key: string;
  numberMode: string;
  userVerification: string;
}

/** What a new credential is made with. */
export interface Registration {
  challenge: string;
  userId: string;
  /** COSE identifiers. */
  algorithms: number[];
}

export interface Context {
  application: { id: string; name: string; kind: string };
  user: string;
  protocol: string;
  client: { address: string; trust: Trust } | null;
  place: string | null;
  requestedAt: number;
  expiresAt: number;
  recentApproval: { application: string; at: number } | null;
}

export type Trust = 'verified' | 'reported' | 'unknown';

export const CLOSING_STATES = ['approved', 'denied', 'expired', 'cancelled', 'collision', 'superseded'] as const;
export type ClosingState = (typeof CLOSING_STATES)[number];
export type ChallengeState = ClosingState | 'pending' | 'code_shown';

export type DecisionAnswer = { state: ClosingState } | { state: 'code_shown'; code: string };

/** What a sign-in window can be opened for. */
export interface Application {
  id: string;
  name: string;
}

export const WINDOW_ENDS = ['approved', 'expired', 'collision', 'cancelled'] as const;
export type WindowEnd = (typeof WINDOW_ENDS)[number];

export interface PastLogin {
  at: number;
  application: string;
  place: string | null;
  verdict: string;
  /** What it hung on; servers of before sign-in windows do not say. */
  factor: string;
}

/** A challenge's id, wherever it comes from. */
export const CHALLENGE_ID = /^[A-Za-z0-9_-]{22}$/;
/** The id of a sign-in window, as this app makes it. */
export const WINDOW_ID = CHALLENGE_ID;
const IDENTIFIER = /^[A-Za-z0-9_-]{1,64}$/;
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$/;

type Json = Record<string, unknown>;

/** The server's answer is not what the protocol says. */
export class UnreadableError extends Error {
  override name = 'UnreadableError';
}

function object(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new UnreadableError(`${what} is no object`);
  return value as Json;
}

function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new UnreadableError(`${what} is no list`);
  return value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new UnreadableError(`${what} is no text`);
  return value;
}

function textOrNull(value: unknown, what: string): string | null {
  return value === null ? null : text(value, what);
}

function identifier(value: unknown, what: string): string {
  if (!IDENTIFIER.test(text(value, what))) throw new UnreadableError(`${what} is no identifier`);
  return value as string;
}

export function readTime(value: unknown, what = 'time'): number {
  const time = TIME.test(text(value, what)) ? Date.parse(value as string) : Number.NaN;
  if (Number.isNaN(time)) throw new UnreadableError(`${what} is no time`);
  return time;
}

export function readServer(value: unknown): ServerInfo {
  const server = object(value, 'server');
  if (server.protocol !== 1) throw new UnreadableError('another protocol');
  return {
    organization: text(server.organization, 'organization'),
    deploymentId: identifier(server.deployment_id, 'deployment_id'),
    origin: text(server.origin, 'origin'),
    time: readTime(server.time),
    pushKey: textOrNull(server.push_key, 'push_key'),
    signingKey: publicJwk(server.signing_key),
    endorsements: list(server.endorsements ?? [], 'endorsements').map((step) => {
      const { thumbprint, by, signature } = object(step, 'endorsement');
      return { thumbprint: text(thumbprint, 'thumbprint'), by: publicJwk(by), signature: text(signature, 'signature') };
    }),
  };
}

export function readActivated(value: unknown): Activated {
  const answer = object(value, 'activation');
  const account = object(answer.account, 'account');
  const totp = answer.totp === null ? null : object(answer.totp, 'totp');
  return {
    deviceId: identifier(answer.device_id, 'device_id'),
    account: {
      id: identifier(account.id, 'account.id'),
      user: text(account.user, 'account.user'),
      displayName: text(account.display_name, 'account.display_name'),
      organization: text(account.organization, 'account.organization'),
    },
    server: readServer(answer.server),
    totp: totp && {
      secret: text(totp.secret, 'totp.secret'),
      settings: totpSettings({ algorithm: totp.algorithm, digits: totp.digits, period: totp.period }),
    },
  };
}

export function readChallenge(value: unknown): WireChallenge {
  const challenge = object(value, 'challenge');
  const id = text(challenge.id, 'challenge.id');
  if (!CHALLENGE_ID.test(id)) throw new UnreadableError('challenge.id is no challenge id');
  return {
    id,
    nonce: text(challenge.nonce, 'nonce'),
    context: text(challenge.context, 'context'),
    signature: text(challenge.signature, 'signature'),
    key: text(challenge.key, 'key'),
    numberMode: text(challenge.number_mode, 'number_mode'),
    userVerification: text(challenge.user_verification, 'user_verification'),
  };
}

export function readChallenges(value: unknown): { challenges: WireChallenge[]; credentialId: string | null } {
  const listed = object(value, 'challenges');
  return {
    challenges: list(listed.challenges, 'challenges').map(readChallenge),
    credentialId: textOrNull(listed.credential_id ?? null, 'credential_id'),
  };
}

export function readRegistration(value: unknown): Registration {
  const registration = object(value, 'registration');
  return {
    challenge: text(registration.challenge, 'challenge'),
    userId: text(registration.user_id, 'user_id'),
    algorithms: list(registration.algorithms, 'algorithms').map((algorithm) => {
      if (typeof algorithm !== 'number') throw new UnreadableError('algorithms has something else than numbers');
      return algorithm;
    }),
  };
}

/** Reads a context from the base64url of its octets, those that were hashed. */
export function readContext(octets: string): Context {
  let parsed: unknown;
  try {
    parsed = JSON.parse(fromUtf8(fromBase64url(octets)));
  } catch {
    throw new UnreadableError('context is no JSON');
  }
  const context = object(parsed, 'context');
  const application = object(context.application, 'application');
  const client = context.client === null ? null : object(context.client, 'client');
  const recent = context.recent_approval === null ? null : object(context.recent_approval, 'recent_approval');
  return {
    application: {
      id: identifier(application.id, 'application.id'),
      name: text(application.name, 'application.name'),
      kind: text(application.kind, 'application.kind'),
    },
    user: text(context.user, 'user'),
    protocol: text(context.protocol, 'protocol'),
    client: client && { address: text(client.address, 'client.address'), trust: trust(client.trust) },
    place: textOrNull(context.place, 'place'),
    requestedAt: readTime(context.requested_at, 'requested_at'),
    expiresAt: readTime(context.expires_at, 'expires_at'),
    recentApproval: recent && {
      application: text(recent.application, 'recent_approval.application'),
      at: readTime(recent.at, 'recent_approval.at'),
    },
  };
}

function trust(word: unknown): Trust {
  return word === 'verified' || word === 'reported' ? word : 'unknown';
}

export function isClosing(state: string): state is ClosingState {
  return (CLOSING_STATES as readonly string[]).includes(state);
}

export function readState(value: unknown): ChallengeState {
  const state = text(object(value, 'state').state, 'state');
  if (state !== 'pending' && state !== 'code_shown' && !isClosing(state)) throw new UnreadableError('unknown state');
  return state;
}

export function readClosed(value: unknown): { id: string; state: ClosingState } {
  const { id, state } = object(value, 'challenge-closed');
  if (!CHALLENGE_ID.test(text(id, 'id')) || !isClosing(text(state, 'state'))) throw new UnreadableError('challenge-closed');
  return { id: id as string, state: state as ClosingState };
}

export function readDecisionAnswer(value: unknown): DecisionAnswer {
  const answer = object(value, 'decision answer');
  const state = readState(answer);
  if (state === 'pending') throw new UnreadableError('a decision leaves nothing pending');
  return state === 'code_shown' ? { state, code: text(answer.code, 'code') } : { state };
}

export function readHistory(value: unknown): PastLogin[] {
  return list(object(value, 'history').logins, 'logins').map((item) => {
    const login = object(item, 'login');
    return {
      at: readTime(login.at, 'at'),
      application: text(login.application, 'application'),
      place: textOrNull(login.place, 'place'),
      verdict: text(login.verdict, 'verdict'),
      factor: login.factor === undefined ? 'push' : text(login.factor, 'factor'),
    };
  });
}

export function readApplications(value: unknown): Application[] {
  return list(object(value, 'applications').applications, 'applications').map((item) => {
    const application = object(item, 'application');
    return { id: identifier(application.id, 'application.id'), name: text(application.name, 'application.name') };
  });
}

/** When the window is over, in milliseconds since 1970. */
export function readWindowAnswer(value: unknown): number {
  return readTime(object(value, 'window answer').expires_at, 'expires_at');
}

function windowEnd(state: unknown): WindowEnd {
  const end = WINDOW_ENDS.find((word) => word === state);
  if (end === undefined) throw new UnreadableError('unknown state of a window');
  return end;
}

export function readWindowState(value: unknown): WindowEnd | 'open' {
  const { state } = object(value, 'window state');
  return state === 'open' ? state : windowEnd(state);
}

export function readWindowClosed(value: unknown): { id: string; state: WindowEnd } {
  const closed = object(value, 'window-closed');
  return { id: identifier(closed.id, 'id'), state: windowEnd(closed.state) };
}

/** What a push carries; null for anything else. */
export function readPush(value: unknown): { account: string; challenge: string } | null {
  if (typeof value !== 'object' || value === null) return null;
  const { v, account, challenge } = value as Json;
  if (v !== 1 || typeof account !== 'string' || typeof challenge !== 'string') return null;
  return IDENTIFIER.test(account) && CHALLENGE_ID.test(challenge) ? { account, challenge } : null;
}
