// A challenge becomes something to show only by way of `open`, and an answer only by way of `decide`.

import { type Bytes, fromBase64url, sha256 } from './bytes';
import { type DeviceKey, type PublicJwk, sign, thumbprint, verifies } from './keys';
import { type Context, type WireChallenge, readContext } from './messages';
import { type Parties, type SignedChallenge, challengeOctets, decisionOctets } from './signed';
import type { Assertion } from './webauthn';

export const NUMBER_MODES = ['none', 'typed', 'code_to_phone'] as const;
export type NumberMode = (typeof NUMBER_MODES)[number];
const VERIFICATIONS = ['none', 'preferred', 'required'] as const;
export type Verification = (typeof VERIFICATIONS)[number];

/** A challenge whose signature was verified. */
export interface Challenge {
  id: string;
  signed: SignedChallenge;
  context: Context;
  numberMode: NumberMode;
  userVerification: Verification;
}

export type Opened = { kind: 'good'; challenge: Challenge } | { kind: 'other key' } | { kind: 'bad' } | { kind: 'newer' };

/**
 * Verifies and reads a challenge. `other key`: not signed by the trusted key, so endorsements are to be asked for;
 * `bad`: not signed for this device; `newer`: it speaks words that this app does not know.
 */
export async function open(wire: WireChallenge, parties: Parties, trusted: PublicJwk): Promise<Opened> {
  if (wire.key !== (await thumbprint(trusted))) return { kind: 'other key' };
  try {
    const context = readContext(wire.context);
    const signed: SignedChallenge = {
      id: wire.id,
      nonce: wire.nonce,
      applicationId: context.application.id,
      context: fromBase64url(wire.context),
      numberMode: wire.numberMode,
    };
    const octets = await challengeOctets(parties, signed, wire.userVerification);
    if (!(await verifies(trusted, wire.signature, octets))) return { kind: 'bad' };
    const numberMode = NUMBER_MODES.find((word) => word === wire.numberMode);
    const userVerification = VERIFICATIONS.find((word) => word === wire.userVerification);
    if (numberMode === undefined || userVerification === undefined) return { kind: 'newer' };
    return { kind: 'good', challenge: { id: wire.id, signed, context, numberMode, userVerification } };
  } catch {
    return { kind: 'bad' };
  }
}

export type Decision = 'verify' | 'deny' | 'deny_report';

/**
 * The body of a decision as it is sent, again and again if the answer is lost. `verifyUser` has the person verified for
 * just these octets; without it the decision says that nobody was.
 */
export async function decide(
  challenge: Challenge,
  parties: Parties,
  key: DeviceKey,
  decision: Decision,
  number: string | null,
  deviceTime: string,
  verifyUser: ((challenge: Bytes) => Promise<Assertion>) | null,
): Promise<string> {
  const fields = { decision, number, userVerification: verifyUser === null ? 'none' : 'webauthn', deviceTime };
  const octets = await decisionOctets(parties, challenge.signed, fields);
  const assertion = verifyUser === null ? null : await verifyUser(await sha256(octets));
  const signature = await sign(key.privateKey, octets);
  return JSON.stringify({
    decision,
    number,
    user_verification: fields.userVerification,
    device_time: deviceTime,
    assertion,
    signature,
  });
}
