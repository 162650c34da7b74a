// User verification: the one place that speaks to authenticators (Web Authentication Level 2).

import { type Bytes, fromBase64url, toBase64url } from './bytes';
import type { Registration } from './messages';

/** What goes into a decision, all base64url. */
export interface Assertion {
  credential_id: string;
  authenticator_data: string;
  client_data_json: string;
  signature: string;
}

/** The body that completes a registration, all base64url. */
export interface NewCredential {
  credential_id: string;
  attestation_object: string;
  client_data_json: string;
}

/** `cancelled`: the person said no, or nothing for too long; `impossible`: this browser cannot do it now. */
export class UnverifiedError extends Error {
  override name = 'UnverifiedError';
  constructor(
    readonly reason: 'cancelled' | 'impossible',
    options?: ErrorOptions,
  ) {
    super(reason, options);
  }
}

/** Whether this device has an authenticator that asks for a fingerprint, a face or a PIN. */
export async function canVerify(): Promise<boolean> {
  try {
    return await PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable();
  } catch {
    return false;
  }
}

/** Makes a credential; the names are what the authenticator shows. */
export async function makeCredential(
  registration: Registration,
  names: { organization: string; user: string; displayName: string },
): Promise<NewCredential> {
  const made = await asked(() =>
    navigator.credentials.create({
      publicKey: {
        challenge: fromBase64url(registration.challenge),
        rp: { id: location.hostname, name: names.organization },
        user: { id: fromBase64url(registration.userId), name: names.user, displayName: names.displayName },
        pubKeyCredParams: registration.algorithms.map((alg) => ({ type: 'public-key', alg })),
        attestation: 'none',
        authenticatorSelection: {
          authenticatorAttachment: 'platform',
          residentKey: 'discouraged',
          requireResidentKey: false,
          userVerification: 'required',
        },
      },
    }),
  );
  const response = made.response as AuthenticatorAttestationResponse;
  return {
    credential_id: text(made.rawId),
    attestation_object: text(response.attestationObject),
    client_data_json: text(response.clientDataJSON),
  };
}

/**
 * Has the person verified, for this challenge and by this credential. `signal` takes the question away, and `timeout`
 * (in milliseconds) does, more or less.
 */
export async function verifyUser(credentialId: string, challenge: Bytes, timeout: number, signal: AbortSignal): Promise<Assertion> {
  const given = await asked(() =>
    navigator.credentials.get({
      publicKey: {
        challenge,
        rpId: location.hostname,
        allowCredentials: [{ type: 'public-key', id: fromBase64url(credentialId), transports: ['internal'] }],
        userVerification: 'required',
        timeout,
      },
      signal,
    }),
  );
  const response = given.response as AuthenticatorAssertionResponse;
  return {
    credential_id: text(given.rawId),
    authenticator_data: text(response.authenticatorData),
    client_data_json: text(response.clientDataJSON),
    signature: text(response.signature),
  };
}

function text(octets: ArrayBuffer): string {
  return toBase64url(new Uint8Array(octets));
}

async function asked(ask: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  try {
    const given = await ask();
    if (given !== null) return given as PublicKeyCredential;
  } catch (cause) {
    // Browsers do not say whether the person refused or was too slow, or the credential is gone.
    const refused = cause instanceof DOMException && (cause.name === 'NotAllowedError' || cause.name === 'AbortError');
    throw new UnverifiedError(refused ? 'cancelled' : 'impossible', { cause });
  }
  throw new UnverifiedError('impossible');
}
