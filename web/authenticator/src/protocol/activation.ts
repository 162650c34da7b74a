// What an administrator hands out: a code for typing, or the text of a QR code.

import { fromBase64url } from './bytes';
import { originOf } from './origin';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CODE_LENGTH = 12;

/** The code as the server wants it, or null. */
export function normalizeCode(typed: string): string | null {
  const code = typed
    .replaceAll(/[\s-]/g, '')
    .toUpperCase()
    .replaceAll('O', '0')
    .replaceAll(/[IL]/g, '1');
  if (code.length !== CODE_LENGTH) return null;
  return [...code].every((character) => ALPHABET.includes(character)) ? code : null;
}

export interface ActivationLink {
  origin: string;
  token: string;
  /** The thumbprint of the server's signing key. */
  key: string;
}

export type LinkReading = { kind: 'link'; link: ActivationLink } | { kind: 'newer' } | { kind: 'foreign' };

/** Reads the text of a QR code. `newer`: of a later version of the protocol; `foreign`: something else. */
export function readLink(text: string): LinkReading {
  const parts = /^(https?:\/\/[^/?#\\@\s]+)\/activate#([^#\s]*)$/i.exec(text.trim());
  const origin = parts?.[1] === undefined ? null : originOf(parts[1]);
  const values = new Map<string, string>();
  for (const pair of (parts?.[2] ?? '').split('&')) {
    const [name = '', value, more] = pair.split('=');
    if (value === undefined || more !== undefined || values.has(name)) return { kind: 'foreign' };
    values.set(name, value);
  }
  const version = values.get('v');
  if (origin === null || version === undefined) return { kind: 'foreign' };
  if (version !== '1') return /^\d{1,6}$/.test(version) ? { kind: 'newer' } : { kind: 'foreign' };
  const token = values.get('t') ?? '';
  const key = values.get('k') ?? '';
  if (values.size !== 3 || !isBase64url(token, 16) || !isBase64url(key, 32)) return { kind: 'foreign' };
  return { kind: 'link', link: { origin, token, key } };
}

function isBase64url(text: string, octets: number): boolean {
  try {
    return fromBase64url(text).length === octets;
  } catch {
    return false;
  }
}
