// The octets that devices and servers sign: each field behind its length, four octets, big-endian.

import { type Bytes, fromBase64url, sha256, utf8 } from './bytes';

/** Who talks with whom: the first fields of everything that is signed between server and device. */
export interface Parties {
  origin: string;
  deploymentId: string;
  accountId: string;
  deviceId: string;
}

/** What both the server's and the device's signature say about a challenge. */
export interface SignedChallenge {
  id: string;
  nonce: string;
  applicationId: string;
  /** The octets of the context as they came. */
  context: Bytes;
  numberMode: string;
}

export interface DecisionFields {
  decision: string;
  number: string | null;
  userVerification: string;
  deviceTime: string;
}

/** What opens a sign-in window. */
export interface WindowFields {
  windowId: string;
  applicationId: string;
  userVerification: string;
  deviceTime: string;
}

type Field = string | Bytes;

function frame(fields: Field[]): Bytes {
  const parts = fields.map((field) => (typeof field === 'string' ? utf8(field) : field));
  const out = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const part of parts) {
    view.setUint32(at, part.length);
    out.set(part, at + 4);
    at += 4 + part.length;
  }
  return out;
}

function octets32(text: string): Bytes {
  const octets = fromBase64url(text);
  if (octets.length !== 32) throw new Error('not 32 octets');
  return octets;
}

async function challengeFields(parties: Parties, challenge: SignedChallenge): Promise<Field[]> {
  return [
    parties.origin,
    parties.deploymentId,
    parties.accountId,
    parties.deviceId,
    challenge.id,
    octets32(challenge.nonce),
    challenge.applicationId,
    await sha256(challenge.context),
  ];
}

export async function challengeOctets(parties: Parties, challenge: SignedChallenge, asked: string): Promise<Bytes> {
  return frame(['countersign-challenge-v1', ...(await challengeFields(parties, challenge)), challenge.numberMode, asked]);
}

export async function decisionOctets(parties: Parties, challenge: SignedChallenge, fields: DecisionFields): Promise<Bytes> {
  return frame([
    'countersign-decision-v1',
    ...(await challengeFields(parties, challenge)),
    fields.decision,
    fields.number ?? '',
    challenge.numberMode,
    fields.userVerification,
    fields.deviceTime,
  ]);
}

export function windowOctets(parties: Parties, fields: WindowFields): Bytes {
  return frame([
    'countersign-window-v1',
    parties.origin,
    parties.deploymentId,
    parties.accountId,
    parties.deviceId,
    fields.windowId,
    fields.applicationId,
    fields.userVerification,
    fields.deviceTime,
  ]);
}

/** `newer` is the thumbprint of the key that takes the older one's place. */
export function endorsementOctets(newer: string): Bytes {
  return frame(['countersign-signing-key-v1', octets32(newer)]);
}
