// Confirming by fingerprint, face or PIN: set up for an account, and taken away.

import { RefusedError } from '../protocol/client';
import { readRegistration } from '../protocol/messages';
import { UnverifiedError, canVerify, makeCredential } from '../protocol/webauthn';
import { Watched } from '../store/state';
import { type Holder, update } from './accounts';
import { call } from './server';

/** Whether this device can ask its user. */
export const available = new Watched<boolean>(false);

export async function examineVerification(): Promise<void> {
  available.set(await canVerify());
}

/** Why it was not set up. */
export type SetupProblem = 'cancelled' | 'unsupported' | 'failed';

/** Sets it up; null when that went well. */
export async function setUp(holder: Holder): Promise<SetupProblem | null> {
  const { account } = holder;
  try {
    const registration = readRegistration(await call(holder, 'POST', 'webauthn/registrations'));
    const made = await makeCredential(registration, account);
    await call(holder, 'PUT', 'webauthn/credential', JSON.stringify(made));
    await update(account.deviceId, { credentialId: made.credential_id });
    return null;
  } catch (error) {
    if (error instanceof UnverifiedError && error.reason === 'cancelled') return 'cancelled';
    return error instanceof RefusedError && error.code === 'user_verification_unsupported' ? 'unsupported' : 'failed';
  }
}

/** What the device's authenticator keeps stays there, and is worth nothing any more. */
export async function takeAway(holder: Holder): Promise<void> {
  await call(holder, 'DELETE', 'webauthn/credential');
  await update(holder.account.deviceId, { credentialId: null });
}
