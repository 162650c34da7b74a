import { describe, expect, it } from 'vitest';
import { readChallenges, readClosed, readDecisionAnswer, readHistory, readPush, readRegistration } from '../src/protocol/messages';
import { EventParser } from '../src/protocol/sse';
import { example } from './page';

const TEXT =
  'event: challenge\ndata: {"a":1}\n\n: a comment\n\nevent: challenge-closed\r\ndata: one\r\ndata: two\r\n\r\ndata:bare\n\nevent: without-data\n\n';
const EVENTS = [
  { name: 'challenge', data: '{"a":1}' },
  { name: 'challenge-closed', data: 'one\ntwo' },
  { name: 'message', data: 'bare' },
];

describe('events', () => {
  it('are read', () => {
    expect(new EventParser().push(TEXT)).toEqual(EVENTS);
  });

  it('are the same however the stream is cut', () => {
    for (let size = 1; size < 9; size += 1) {
      const parser = new EventParser();
      const events = [];
      for (let at = 0; at < TEXT.length; at += size) events.push(...parser.push(TEXT.slice(at, at + size)));
      expect(events).toEqual(EVENTS);
    }
  });
});

describe('messages of the page', () => {
  it('are read', () => {
    expect(readChallenges(example('challenges'))).toEqual({ challenges: [], credentialId: null });
    const listed = readChallenges({ challenges: [example('challenge')], credential_id: 'b25l', more: 1 });
    expect(listed).toMatchObject({ challenges: [{ userVerification: 'none' }], credentialId: 'b25l' });
    expect(readRegistration(example('registration')).algorithms).toContain(-7);
    expect(readClosed(example('challenge-closed')).state).toBe('superseded');
    expect(readDecisionAnswer({ state: 'code_shown', code: '123456' })).toEqual({ state: 'code_shown', code: '123456' });
    expect(readHistory(example('history'))[0]?.application).toBe('VPN Zürich');
    expect(readPush(example('push-message'))).toMatchObject({ challenge: 'Y2hhbGxlbmdlIGlkIDAwMQ' });
  });
});

it('a push that is not ours is nothing', () => {
  for (const push of [null, undefined, 1, [], {}, { v: 2 }, { v: 1, account: 'a', challenge: '../evil' }, { v: 1, account: 'a b', challenge: 'Y2hhbGxlbmdlIGlkIDAwMQ' }]) {
    expect(readPush(push)).toBeNull();
  }
});
