import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, RefusedError, UnreachableError } from '../src/protocol/client';
import { makeDeviceKey } from '../src/protocol/keys';
import { example } from './page';

const key = await makeDeviceKey();
const clock = { offset: 0, now: () => 1_000_000 + clock.offset, learn: (time: number) => void (clock.offset = time - 1_000_000) };
let answers: Response[] = [];
let proofs: Record<string, unknown>[] = [];

function problem(status: number, code: string, nonce: string, more: object = {}): Response {
  return Response.json({ code, status, ...more }, { status, headers: { 'Content-Type': 'application/problem+json', 'DPoP-Nonce': nonce } });
}

function greeting(): Response {
  const time = new Date(clock.now()).toISOString();
  return Response.json({ ...(example('server') as object), time }, { headers: { 'DPoP-Nonce': 'n0' } });
}

beforeEach(() => {
  answers = [];
  proofs = [];
  clock.offset = 0;
  vi.stubGlobal('fetch', async (_: string, init: RequestInit) => {
    const proof = (init.headers as Record<string, string>).DPoP ?? '..';
    proofs.push(JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString() || '{}'));
    const answer = answers.shift();
    if (answer === undefined) throw new TypeError('Failed to fetch');
    return answer;
  });
});
afterEach(() => vi.unstubAllGlobals());

describe('a request', () => {
  const client = () => new Client('https://mfa.example.com', clock);

  it('asks for the first nonce, once for all', async () => {
    answers = [greeting(), Response.json({ a: 1 }), Response.json({ b: 2 })];
    const one = client();
    await Promise.all([one.call(key, 'GET', 'challenges'), one.call(key, 'GET', 'history')]);
    expect(proofs.map(({ nonce }) => nonce)).toEqual([undefined, 'n0', 'n0']);
  });

  it('is sent again once with a fresh nonce and a new jti', async () => {
    answers = [greeting(), problem(401, 'use_dpop_nonce', 'n1'), Response.json({ fine: true })];
    expect(await client().call(key, 'GET', 'challenges')).toEqual({ fine: true });
    expect(proofs.map(({ nonce }) => nonce)).toEqual([undefined, 'n0', 'n1']);
    expect(proofs[1]?.jti).not.toBe(proofs[2]?.jti);
    expect(proofs[2]?.htu).toBe('https://mfa.example.com/device/v1/challenges');
  });

  it('is not sent a third time', async () => {
    answers = [greeting(), problem(401, 'use_dpop_nonce', 'n1'), problem(401, 'use_dpop_nonce', 'n2'), Response.json({})];
    await expect(client().call(key, 'GET', 'challenges')).rejects.toMatchObject({ code: 'use_dpop_nonce' });
  });

  it('mends the clock by what the server says', async () => {
    answers = [greeting(), problem(401, 'proof_expired', 'n', { time: '1970-01-01T01:00:00Z' }), new Response(null, { status: 204 })];
    expect(await client().call(key, 'PUT', 'push', 'null')).toBeUndefined();
    // The clock goes on while the test runs.
    expect(proofs.map(({ iat }) => (typeof iat === 'number' ? Math.floor(iat) : iat))).toEqual([undefined, 1_000, 3_600]);
  });

  it('that is refused says how', async () => {
    answers = [greeting(), problem(409, 'challenge_closed', 'n', { state: 'expired' })];
    const refused = await client().call(key, 'POST', 'x', '{}').catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusedError);
    expect((refused as RefusedError).problem.state).toBe('expired');
  });

  it('without an answer is unreachable, also behind a proxy', async () => {
    await expect(client().call(key, 'GET', 'x')).rejects.toBeInstanceOf(UnreachableError);
    answers = [greeting(), new Response('<h1>Bad Gateway</h1>', { status: 502, headers: { 'Content-Type': 'text/html' } })];
    await expect(client().call(key, 'GET', 'x')).rejects.toBeInstanceOf(UnreachableError);
  });
});

it('the key of a device cannot be exported and does nothing but sign', async () => {
  expect(key.privateKey).toMatchObject({ extractable: false, usages: ['sign'] });
  await expect(crypto.subtle.exportKey('jwk', key.privateKey)).rejects.toThrow('key is not extractable');
});
