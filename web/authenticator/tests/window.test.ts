import { describe, expect, it } from 'vitest';
import { type Bytes, sha256, toBase64url } from '../src/protocol/bytes';
import { RefusedError, UnreachableError } from '../src/protocol/client';
import { publicJwk, verifies } from '../src/protocol/keys';
import { readApplications, readHistory, readWindowAnswer, readWindowClosed, readWindowState } from '../src/protocol/messages';
import { type Parties, windowOctets } from '../src/protocol/signed';
import { type Assertion, UnverifiedError } from '../src/protocol/webauthn';
import { windowRefusal, windowRequest } from '../src/protocol/window';
import { deviceKey, example, unhex, vector } from './page';

const jwk = publicJwk(JSON.parse(vector('device_jwk')));
const parties: Parties = {
  origin: vector('origin'),
  deploymentId: vector('deployment_id'),
  accountId: vector('account_id'),
  deviceId: vector('device_id'),
};
const TIME = '2026-01-31T09:05:07.250Z';
const id = 'd2luZG93IGlkIDAwMDAwMQ';
const application = vector('application_id');

describe('a request for a window', () => {
  it('is the one of the page', async () => {
    const key = { privateKey: await deviceKey(), jwk };
    const { signature, ...rest } = JSON.parse(await windowRequest(parties, key, id, application, TIME, null));
    const { signature: _, ...wanted } = example('window') as Record<string, unknown>;
    expect(rest).toEqual(wanted);
    expect(await verifies(jwk, signature, unhex(vector('window_octets')))).toBe(true);
  });

  it('s12 carries an assertion over the very octets that are signed', async () => {
    const key = { privateKey: await deviceKey(), jwk };
    const assertion = example('assertion') as Assertion;
    const asked: string[] = [];
    const verifyUser = async (over: Bytes) => {
      asked.push(toBase64url(over));
      return assertion;
    };
    const body = JSON.parse(await windowRequest(parties, key, id, application, TIME, verifyUser));
    const octets = windowOctets(parties, { windowId: id, applicationId: application, userVerification: 'webauthn', deviceTime: TIME });
    expect(asked).toEqual([toBase64url(await sha256(octets))]);
    expect(body).toMatchObject({ user_verification: 'webauthn', assertion });
    expect(await verifies(jwk, body.signature, octets)).toBe(true);
  });

  it('s12 is not made when the person is not verified', async () => {
    const key = { privateKey: await deviceKey(), jwk };
    const refuse = async () => {
      throw new UnverifiedError('cancelled');
    };
    await expect(windowRequest(parties, key, id, application, TIME, refuse)).rejects.toThrow('cancelled');
  });
});

describe('what the server says of windows', () => {
  it('is read', () => {
    expect(readApplications(example('applications'))).toEqual([{ id: 'vpn', name: 'VPN Zürich' }]);
    expect(readWindowAnswer(example('window-answer'))).toBe(Date.parse('2026-01-31T09:06:07Z'));
    expect(readWindowState(example('window-state'))).toBe('open');
    expect(readWindowClosed(example('window-closed'))).toEqual({ id, state: 'approved' });
    expect(readHistory(example('history')).map(({ factor }) => factor)).toEqual(['push', 'window', 'bypass']);
  });

  it('is no approval when it is an unknown word', () => {
    expect(() => readWindowState({ state: 'fine' })).toThrow();
    expect(() => readWindowState({})).toThrow();
    expect(() => readWindowClosed({ id, state: 'open' })).toThrow();
  });
});

describe('a refusal', () => {
  const refused = (code: string, problem: Record<string, unknown> = {}, status = 409) => new RefusedError(status, code, problem);

  it('says when to try again', () => {
    const until = '2026-01-31T09:06:07Z';
    for (const kind of ['login_under_way', 'login_unapproved'] as const) {
      expect(windowRefusal(refused(kind, { until }))).toEqual({ kind, until: Date.parse(until) });
      expect(windowRefusal(refused(kind))).toEqual({ kind: 'refused' });
    }
    const often = refused('too_many_attempts', {}, 429);
    often.retryAfter = 1_800;
    expect(windowRefusal(often)).toEqual({ kind: 'too_many_attempts', seconds: 1_800 });
  });

  it('has a reason, and an unknown one is a refusal all the same', () => {
    for (const kind of ['window_open', 'account_frozen', 'application_unknown', 'user_verification_required', 'assertion_invalid'] as const) {
      expect(windowRefusal(refused(kind))).toEqual({ kind });
    }
    expect(windowRefusal(refused('something_new'))).toEqual({ kind: 'refused' });
    expect(windowRefusal(new UnreachableError('no answer'))).toEqual({ kind: 'unreachable' });
    expect(windowRefusal(new UnverifiedError('impossible'))).toEqual({ kind: 'impossible' });
    expect(windowRefusal(new Error('anything'))).toEqual({ kind: 'refused' });
  });
});
