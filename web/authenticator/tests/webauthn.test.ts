import { afterEach, describe, expect, it, vi } from 'vitest';
import { fromBase64url } from '../src/protocol/bytes';
import { readRegistration } from '../src/protocol/messages';
import { type NewCredential, canVerify, makeCredential, verifyUser } from '../src/protocol/webauthn';
import { example, vector } from './page';

const registration = readRegistration(example('registration'));
const names = { organization: 'Example Ltd', user: 'ada', displayName: 'Ada Example' };
const buffer = (text: unknown) => fromBase64url(String(text)).buffer;

/** A browser whose authenticator answers like this. */
function browser(answer: () => Promise<unknown>) {
  const asked: { publicKey: Record<string, unknown> }[] = [];
  const ask = async (options: (typeof asked)[number]) => {
    asked.push(options);
    return answer();
  };
  vi.stubGlobal('location', { hostname: 'mfa.example.com' });
  vi.stubGlobal('navigator', { credentials: { create: ask, get: ask } });
  return asked;
}
afterEach(() => vi.unstubAllGlobals());

describe('a credential', () => {
  const wanted = example('credential') as NewCredential;

  it('is made by this device, for this server, with a verified user', async () => {
    const asked = browser(async () => ({
      rawId: buffer(wanted.credential_id),
      response: { attestationObject: buffer(wanted.attestation_object), clientDataJSON: buffer(wanted.client_data_json) },
    }));
    expect(await makeCredential(registration, names)).toEqual(wanted);
    expect(asked[0]?.publicKey).toMatchObject({
      rp: { id: 'mfa.example.com' },
      user: { id: fromBase64url(registration.userId) },
      challenge: fromBase64url(registration.challenge),
      attestation: 'none',
      authenticatorSelection: { authenticatorAttachment: 'platform', userVerification: 'required' },
    });
    expect(asked[0]?.publicKey.pubKeyCredParams).toContainEqual({ type: 'public-key', alg: -7 });
  });

  it('is not made when the person says no, or the browser cannot', async () => {
    for (const [name, reason] of [
      ['NotAllowedError', 'cancelled'],
      ['AbortError', 'cancelled'],
      ['NotSupportedError', 'impossible'],
      ['SecurityError', 'impossible'],
    ]) {
      browser(() => Promise.reject(new DOMException('no', name)));
      await expect(makeCredential(registration, names)).rejects.toMatchObject({ reason });
    }
    browser(async () => null);
    await expect(makeCredential(registration, names)).rejects.toMatchObject({ reason: 'impossible' });
    vi.stubGlobal('navigator', {});
    await expect(makeCredential(registration, names)).rejects.toMatchObject({ reason: 'impossible' });
  });
});

it('a person is verified by the one credential and over the one challenge', async () => {
  const wanted = example('assertion') as Record<string, string>;
  const asked = browser(async () => ({
    rawId: buffer(wanted.credential_id),
    response: {
      authenticatorData: buffer(wanted.authenticator_data),
      clientDataJSON: buffer(wanted.client_data_json),
      signature: buffer(wanted.signature),
    },
  }));
  const challenge = fromBase64url(vector('webauthn_challenge'));
  const { signal } = new AbortController();
  expect(await verifyUser(String(wanted.credential_id), challenge, 9_000, signal)).toEqual(wanted);
  expect(asked).toMatchObject([
    {
      publicKey: {
        challenge,
        rpId: 'mfa.example.com',
        userVerification: 'required',
        allowCredentials: [{ type: 'public-key', id: fromBase64url(String(wanted.credential_id)) }],
      },
      signal,
    },
  ]);
});

it('a browser without authenticators cannot verify anybody', async () => {
  expect(await canVerify()).toBe(false);
  vi.stubGlobal('PublicKeyCredential', { isUserVerifyingPlatformAuthenticatorAvailable: async () => true });
  expect(await canVerify()).toBe(true);
});
