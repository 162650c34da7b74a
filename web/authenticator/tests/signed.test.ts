import { describe, expect, it } from 'vitest';
import { type Bytes, fromBase64url, sha256, toBase64url, utf8 } from '../src/protocol/bytes';
import { decide, open } from '../src/protocol/challenge';
import { publicJwk, sign, thumbprint, verifies } from '../src/protocol/keys';
import { readChallenge, readContext } from '../src/protocol/messages';
import { makeProof, proofInput } from '../src/protocol/proof';
import { type Parties, challengeOctets, decisionOctets, endorsementOctets, windowOctets } from '../src/protocol/signed';
import { type Assertion, UnverifiedError } from '../src/protocol/webauthn';
import { deviceKey, example, hex, serverKey, unhex, vector } from './page';

const device = publicJwk(JSON.parse(vector('device_jwk')));
const server = publicJwk(JSON.parse(vector('server_jwk')));
const parties: Parties = {
  origin: vector('origin'),
  deploymentId: vector('deployment_id'),
  accountId: vector('account_id'),
  deviceId: vector('device_id'),
};
const challenge = {
  id: vector('challenge_id'),
  nonce: vector('nonce'),
  applicationId: vector('application_id'),
  context: fromBase64url(vector('context')),
  numberMode: 'typed',
};
const wire = readChallenge(example('challenge'));

describe('the vectors of the page', () => {
  it('thumbprints', async () => {
    expect(await thumbprint(device)).toBe(vector('device_thumbprint'));
    expect(await thumbprint(server)).toBe(vector('server_thumbprint'));
    expect(await thumbprint(publicJwk(JSON.parse(vector('next_server_jwk'))))).toBe(vector('next_server_thumbprint'));
  });

  it('challenge', async () => {
    expect(hex(await sha256(challenge.context))).toBe(vector('context_sha256'));
    const octets = await challengeOctets(parties, challenge, 'none');
    expect(hex(octets)).toBe(vector('challenge_octets'));
    expect(await verifies(server, vector('challenge_signature'), octets)).toBe(true);
  });

  it('decision', async () => {
    const octets = await decisionOctets(parties, challenge, {
      decision: 'verify',
      number: '042137',
      userVerification: 'none',
      deviceTime: '2026-01-31T09:05:07.250Z',
    });
    expect(hex(octets)).toBe(vector('decision_octets'));
    expect(await verifies(device, vector('decision_signature'), octets)).toBe(true);
  });

  it('denial', async () => {
    const octets = await decisionOctets(parties, challenge, {
      decision: 'deny_report',
      number: null,
      userVerification: 'none',
      deviceTime: '2026-01-31T09:05:09Z',
    });
    expect(hex(octets)).toBe(vector('denial_octets'));
    expect(await verifies(device, vector('denial_signature'), octets)).toBe(true);
  });

  it('window', async () => {
    const octets = windowOctets(parties, {
      windowId: 'd2luZG93IGlkIDAwMDAwMQ',
      applicationId: vector('application_id'),
      userVerification: 'none',
      deviceTime: '2026-01-31T09:05:07.250Z',
    });
    expect(hex(octets)).toBe(vector('window_octets'));
    expect(await verifies(device, vector('window_signature'), octets)).toBe(true);
  });

  it('endorsement', async () => {
    const octets = endorsementOctets(vector('next_server_thumbprint'));
    expect(hex(octets)).toBe(vector('endorsement_octets'));
    expect(await verifies(server, vector('endorsement_signature'), octets)).toBe(true);
  });

  it('proofs', async () => {
    const claims = { iat: 1769850307, nonce: 'a-nonce-as-the-server-gave-it' };
    const withBody = { ...claims, htm: 'PATCH', htu: `${parties.origin}/device/v1/device`, jti: 'anRpIG51bWJlciAwMDAwMQ' };
    const input = await proofInput(device, withBody, vector('proof_body'));
    expect(input).toBe(vector('proof_input'));
    expect(await verifies(device, vector('proof_signature'), utf8(input))).toBe(true);
    const without = { ...claims, htm: 'GET', htu: `${parties.origin}/device/v1/challenges`, jti: 'anRpIG51bWJlciAwMDAwMg' };
    expect(await proofInput(device, without, '')).toBe(vector('proof_empty_input'));
  });
});

describe('a challenge', () => {
  it('is shown when it is signed for this device', async () => {
    const opened = await open(wire, parties, server);
    expect(opened).toMatchObject({ kind: 'good', challenge: { numberMode: 'typed', userVerification: 'none' } });
    if (opened.kind === 'good') expect(opened.challenge.context.application.name).toBe('VPN Zürich');
  });

  it('is not shown when anything about it was changed', async () => {
    const context = Buffer.from(vector('context_text').replace('203.0.113.7', '203.0.113.8')).toString('base64url');
    for (const changed of [
      { ...wire, context },
      { ...wire, id: 'Y2hhbGxlbmdlIGlkIDAwMg' },
      { ...wire, nonce: vector('context_sha256').slice(0, 43) },
      { ...wire, numberMode: 'none' },
      { ...wire, userVerification: 'preferred' },
      { ...wire, signature: vector('decision_signature') },
      { ...wire, signature: '' },
    ]) {
      expect((await open(changed, parties, server)).kind).toBe('bad');
    }
    for (const other of [{ origin: 'https://mfa.example.org' }, { deploymentId: 'x' }, { accountId: 'x' }, { deviceId: 'x' }]) {
      expect((await open(wire, { ...parties, ...other }, server)).kind).toBe('bad');
    }
    expect((await open(wire, parties, device)).kind).toBe('other key');
  });

  it('with words of a later version is not answered', async () => {
    const key = await serverKey();
    const later = { ...wire, numberMode: 'picture' };
    const octets = await challengeOctets(parties, { ...challenge, numberMode: 'picture' }, 'none');
    expect((await open({ ...later, signature: await sign(key, octets) }, parties, server)).kind).toBe('newer');
  });

  it('is answered with a signature over what was shown', async () => {
    const opened = await open(wire, parties, server);
    if (opened.kind !== 'good') throw new Error(opened.kind);
    const key = { privateKey: await deviceKey(), jwk: device };
    const body = JSON.parse(await decide(opened.challenge, parties, key, 'verify', '042137', '2026-01-31T09:05:07.250Z', null));
    expect(Object.keys(body).sort()).toEqual(Object.keys(example('decision') as object).sort());
    const { signature, ...rest } = body;
    const { signature: _, ...wanted } = example('decision') as Record<string, unknown>;
    expect(rest).toEqual(wanted);
    const octets = await decisionOctets(parties, challenge, {
      decision: 'verify',
      number: '042137',
      userVerification: 'none',
      deviceTime: '2026-01-31T09:05:07.250Z',
    });
    expect(await verifies(device, signature, octets)).toBe(true);
  });

  it('s12 is answered with an assertion over the very octets that are signed', async () => {
    const opened = await open(wire, parties, server);
    if (opened.kind !== 'good') throw new Error(opened.kind);
    const key = { privateKey: await deviceKey(), jwk: device };
    const asked: string[] = [];
    const assertion = example('assertion') as Assertion;
    const verifyUser = async (over: Bytes) => {
      asked.push(toBase64url(over));
      return assertion;
    };
    const time = '2026-01-31T09:05:07.250Z';
    const body = JSON.parse(await decide(opened.challenge, parties, key, 'verify', '042137', time, verifyUser));
    expect(asked).toEqual([vector('webauthn_challenge')]);
    expect(body).toMatchObject({ decision: 'verify', user_verification: 'webauthn', assertion });
    expect(await verifies(device, body.signature, unhex(vector('webauthn_decision_octets')))).toBe(true);
  });

  it('s12 is not answered when the person is not verified', async () => {
    const opened = await open(wire, parties, server);
    if (opened.kind !== 'good') throw new Error(opened.kind);
    const key = { privateKey: await deviceKey(), jwk: device };
    const refuse = async () => {
      throw new UnverifiedError('cancelled');
    };
    await expect(decide(opened.challenge, parties, key, 'verify', '042137', '2026-01-31T09:05:07Z', refuse)).rejects.toThrow('cancelled');
  });
});

it('a context with an unknown trust and unknown members is read as unknown', () => {
  const text = vector('context_text').replace('"reported"', '"guessed","more":{}').replace('"user"', '"later":1,"user"');
  const context = readContext(Buffer.from(text).toString('base64url'));
  expect(context.client).toEqual({ address: '203.0.113.7', trust: 'unknown' });
});

it('a proof is a JWS in compact form under 4096 octets', async () => {
  const proof = await makeProof(
    { privateKey: await deviceKey(), jwk: device },
    { htm: 'GET', htu: 'https://mfa.example.com/device/v1/events', iat: 1, jti: 'a', nonce: 'n' },
    '',
  );
  expect(proof).toMatch(/^[\w-]+\.[\w-]+\.[\w-]{86}$/);
  expect(proof.length).toBeLessThan(4096);
});
