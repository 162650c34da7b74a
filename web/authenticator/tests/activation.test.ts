import { describe, expect, it } from 'vitest';
import { normalizeCode, readLink } from '../src/protocol/activation';
import { fromBase64url } from '../src/protocol/bytes';
import { readActivated } from '../src/protocol/messages';
import { originOf, originTyped } from '../src/protocol/origin';
import { example, vector } from './page';

describe('a typed code', () => {
  it('is brought into the form that is sent', () => {
    for (const typed of [vector('code_shown'), '04hm-asw9-nf6y', ' O4HM ASW9\tNF6Y ', 'o4hm--asw9nf6y', '04HMASW9NF6Y']) {
      expect(normalizeCode(typed)).toBe(vector('code_sent'));
    }
    expect(normalizeCode('iIlL-0000-0000')).toBe('111100000000');
  });

  it('is refused when it cannot be one', () => {
    for (const typed of ['', '04HM-ASW9-NF6', '04HM-ASW9-NF6YY', '04HM-ASW9-NF6U', '04HM_ASW9_NF6Y', '04HM-ASW9-NF6ß']) {
      expect(normalizeCode(typed)).toBeNull();
    }
  });
});

describe('the text of a QR code', () => {
  const link = vector('qr_text');
  const [, token = '', key = ''] = /t=(.*)&k=(.*)$/.exec(link) ?? [];

  it('is read', () => {
    const wanted = { kind: 'link', link: { origin: vector('origin'), token, key } };
    expect(readLink(link)).toEqual(wanted);
    expect(readLink(`https://MFA.example.com:443/activate#k=${key}&v=1&t=${token}`)).toEqual(wanted);
    expect(readLink(`http://localhost:8080/activate#v=1&t=${token}&k=${key}`)).toMatchObject({ link: { origin: 'http://localhost:8080' } });
  });

  it('of a later version is told apart', () => {
    expect(readLink('https://mfa.example.com/activate#v=2&t=anything')).toEqual({ kind: 'newer' });
  });

  it('that is anything else is foreign', () => {
    for (const text of [
      '',
      'otpauth://totp/x?secret=JBSWY3DPEHPK3PXP',
      'https://mfa.example.com/',
      `https://mfa.example.com/activate?x=1#v=1&t=${token}&k=${key}`,
      `https://mfa.example.com/activate/#v=1&t=${token}&k=${key}`,
      `https://mfa.example.com/a/activate#v=1&t=${token}&k=${key}`,
      `https://user@mfa.example.com/activate#v=1&t=${token}&k=${key}`,
      `http://mfa.example.com/activate#v=1&t=${token}&k=${key}`,
      `https://mfa.example.com/activate#v=1&t=${token}`,
      `https://mfa.example.com/activate#v=1&t=${token}&k=${key}&x=1`,
      `https://mfa.example.com/activate#v=1&v=1&t=${token}&k=${key}`,
      `https://mfa.example.com/activate#v=1&t=${token.slice(1)}&k=${key}`,
      `https://mfa.example.com/activate#v=1&t=${token}&k=${key.slice(1)}`,
      `https://mfa.example.com/activate#t=${token}&k=${key}`,
    ]) {
      expect(readLink(text), text).toEqual({ kind: 'foreign' });
    }
  });
});

describe('an address', () => {
  it('comes into its one form', () => {
    expect(originOf('https://mfa.example.com')).toBe('https://mfa.example.com');
    expect(originOf(' HTTPS://MFA.Example.COM:443/ ')).toBe('https://mfa.example.com');
    expect(originOf('https://[2001:DB8:0::1]:8443')).toBe('https://[2001:db8::1]:8443');
    expect(originOf('https://bücher.example')).toBe('https://xn--bcher-kva.example');
    expect(originOf('http://127.0.0.1:8080')).toBe('http://127.0.0.1:8080');
    expect(originTyped('mfa.example.com')).toBe('https://mfa.example.com');
    expect(originTyped('mfa.example.com:8443')).toBe('https://mfa.example.com:8443');
  });

  it('is refused with more than that', () => {
    for (const address of [
      '',
      'https://',
      'mfa.example.com',
      'https://mfa.example.com/app',
      'https://mfa.example.com//',
      'https://mfa.example.com?x',
      'https://mfa.example.com#x',
      'https://user@mfa.example.com',
      'https://mfa example.com',
      'http://mfa.example.com',
      'http://localhost.example.com',
      'ftp://mfa.example.com',
      'https:\\\\mfa.example.com',
    ]) {
      expect(originOf(address), address).toBeNull();
    }
  });
});

it('the answer to an activation is read', () => {
  const answer = readActivated(example('activation-answer'));
  expect(answer.account.displayName).toBe('Ada Example');
  expect(answer.totp).toEqual({ secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', settings: { algorithm: 'SHA1', digits: 6, period: 30 } });
});

it('base64url is read strictly', () => {
  expect(fromBase64url('')).toHaveLength(0);
  for (const text of ['A', 'AB', 'AA==', 'A A', 'AA+A', 'AAAA\n']) {
    expect(() => fromBase64url(text), text).toThrow();
  }
});
