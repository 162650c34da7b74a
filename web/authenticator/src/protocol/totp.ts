// One-time passwords: RFC 4226, RFC 6238.

import type { Bytes } from './bytes';

export type TotpAlgorithm = 'SHA1' | 'SHA256' | 'SHA512';

export interface TotpSettings {
  algorithm: TotpAlgorithm;
  digits: number;
  /** Seconds. */
  period: number;
}

const HASHES: Record<TotpAlgorithm, string> = { SHA1: 'SHA-1', SHA256: 'SHA-256', SHA512: 'SHA-512' };
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

function fromBase32(text: string): Bytes {
  const octets: number[] = [];
  let bits = 0;
  let value = 0;
  for (const character of text) {
    const digit = BASE32.indexOf(character);
    if (digit < 0) throw new Error('not base32');
    value = ((value << 5) | digit) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      octets.push((value >> bits) & 0xff);
    }
  }
  return Uint8Array.from(octets);
}

export function totpSettings(value: { algorithm: unknown; digits: unknown; period: unknown }): TotpSettings {
  const { algorithm, digits, period } = value;
  if (typeof algorithm !== 'string' || !Object.hasOwn(HASHES, algorithm)) throw new Error('unknown TOTP algorithm');
  if (typeof digits !== 'number' || !Number.isInteger(digits) || digits < 6 || digits > 8) throw new Error('unknown TOTP digits');
  if (typeof period !== 'number' || !Number.isInteger(period) || period < 1 || period > 3600) throw new Error('unknown TOTP period');
  return { algorithm: algorithm as TotpAlgorithm, digits, period };
}

/** The seed as a key that makes codes and cannot be read again. */
export async function importSeed(secret: string, algorithm: TotpAlgorithm): Promise<CryptoKey> {
  const seed = fromBase32(secret);
  try {
    return await crypto.subtle.importKey('raw', seed, { name: 'HMAC', hash: HASHES[algorithm] }, false, ['sign']);
  } finally {
    seed.fill(0);
  }
}

export function totpStep(settings: TotpSettings, unixMs: number): number {
  return Math.floor(unixMs / 1000 / settings.period);
}

/** Milliseconds that the code of this moment still lives. */
export function totpLeft(settings: TotpSettings, unixMs: number): number {
  const period = settings.period * 1000;
  return period - (unixMs % period);
}

export async function totpCode(key: CryptoKey, settings: TotpSettings, step: number): Promise<string> {
  const counter = new Uint8Array(8);
  new DataView(counter.buffer).setBigUint64(0, BigInt(step));
  const mac = new DataView(await crypto.subtle.sign('HMAC', key, counter));
  const at = mac.getUint8(mac.byteLength - 1) & 0x0f;
  const number = mac.getUint32(at) & 0x7fffffff;
  return String(number % 10 ** settings.digits).padStart(settings.digits, '0');
}
