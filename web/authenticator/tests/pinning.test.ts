import { expect, it } from 'vitest';
import { type PublicJwk, publicJwk, sign, thumbprint } from '../src/protocol/keys';
import { type ServerInfo, readServer } from '../src/protocol/messages';
import { follow } from '../src/protocol/pinning';
import { endorsementOctets } from '../src/protocol/signed';
import { example, vector } from './page';

const first = publicJwk(JSON.parse(vector('server_jwk')));
const second = publicJwk(JSON.parse(vector('next_server_jwk')));
const server = readServer(example('server'));
const pin = { origin: server.origin, deploymentId: server.deploymentId, signingKey: first };
const step = { thumbprint: vector('next_server_thumbprint'), by: first, signature: vector('endorsement_signature') };

const stating = (signingKey: PublicJwk, endorsements: ServerInfo['endorsements']): ServerInfo => ({ ...server, signingKey, endorsements });

it('the key that was kept stays', async () => {
  expect(await follow(pin, server)).toEqual(first);
});

it('a key that the kept one endorsed takes its place', async () => {
  expect(await follow(pin, stating(second, [step]))).toEqual(second);
});

it('a chain is followed from where the app stands', async () => {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const third = publicJwk(await crypto.subtle.exportKey('jwk', pair.publicKey));
  const older = { thumbprint: await thumbprint(first), by: third, signature: await sign(pair.privateKey, endorsementOctets(await thumbprint(first))) };
  expect(await follow(pin, stating(second, [older, step]))).toEqual(second);
  expect(await follow({ ...pin, signingKey: third }, stating(second, [older, step]))).toEqual(second);
  expect(await follow({ ...pin, signingKey: third }, stating(second, [step, older]))).toBeNull();
});

it('nothing else is trusted', async () => {
  expect(await follow(pin, stating(second, []))).toBeNull();
  expect(await follow(pin, stating(second, [{ ...step, signature: vector('challenge_signature') }]))).toBeNull();
  expect(await follow(pin, stating(second, [{ ...step, by: second }]))).toBeNull();
  expect(await follow(pin, { ...server, deploymentId: 'another' })).toBeNull();
  expect(await follow(pin, { ...server, origin: 'https://mfa.example.org' })).toBeNull();
});
