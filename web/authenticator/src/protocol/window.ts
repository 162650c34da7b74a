// Opening a sign-in window: what is sent, and why it was not opened.

import { type Bytes, sha256 } from './bytes';
import { RefusedError, UnreachableError } from './client';
import { type DeviceKey, sign } from './keys';
import { UnreadableError, readTime } from './messages';
import { type Parties, windowOctets } from './signed';
import { type Assertion, UnverifiedError } from './webauthn';

/**
 * The body that opens a window, the same one each time it is sent again. `verifyUser` has the person verified for just
 * these octets; without it the body says that nobody was.
 */
export async function windowRequest(
  parties: Parties,
  key: DeviceKey,
  windowId: string,
  applicationId: string,
  deviceTime: string,
  verifyUser: ((challenge: Bytes) => Promise<Assertion>) | null,
): Promise<string> {
  const userVerification = verifyUser === null ? 'none' : 'webauthn';
  const octets = windowOctets(parties, { windowId, applicationId, userVerification, deviceTime });
  const assertion = verifyUser === null ? null : await verifyUser(await sha256(octets));
  const signature = await sign(key.privateKey, octets);
  return JSON.stringify({
    window_id: windowId,
    application: applicationId,
    user_verification: userVerification,
    device_time: deviceTime,
    assertion,
    signature,
  });
}

const PLAIN = [
  'window_open',
  'account_frozen',
  'application_unknown',
  'device_unknown',
  'device_removed',
  'account_disabled',
  'user_verification_required',
  'user_verification_unsupported',
  'assertion_invalid',
] as const;

/** Why no window was opened. `cancelled` and `impossible` are of the check of the person. */
export type WindowRefusal =
  | { kind: (typeof PLAIN)[number] | 'unreachable' | 'refused' | 'cancelled' | 'impossible' }
  /** `until` in milliseconds since 1970, by the server's clock. */
  | { kind: 'login_under_way' | 'login_unapproved'; until: number }
  | { kind: 'too_many_attempts'; seconds: number };

export function windowRefusal(error: unknown): WindowRefusal {
  if (error instanceof UnreachableError) return { kind: 'unreachable' };
  if (error instanceof UnverifiedError) return { kind: error.reason };
  if (!(error instanceof RefusedError)) return { kind: 'refused' };
  const { code } = error;
  if (code === 'too_many_attempts') return { kind: code, seconds: error.retryAfter };
  if (code === 'login_under_way' || code === 'login_unapproved') {
    try {
      return { kind: code, until: readTime(error.problem.until, 'until') };
    } catch (unread) {
      if (unread instanceof UnreadableError) return { kind: 'refused' };
      throw unread;
    }
  }
  return { kind: PLAIN.find((word) => word === code) ?? 'refused' };
}
