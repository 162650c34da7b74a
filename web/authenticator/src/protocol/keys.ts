// Keys are ECDSA on P-256; signatures are r and s, 64 octets, as WebCrypto makes them (RFC 7518 section 3.4).

import { type Bytes, fromBase64url, sha256, toBase64url, utf8 } from './bytes';

/** The public half of a key, RFC 7517. */
export interface PublicJwk {
  kty: 'EC';
  crv: 'P-256';
  x: string;
  y: string;
}

export interface DeviceKey {
  /** Not extractable, for signing only. */
  privateKey: CryptoKey;
  jwk: PublicJwk;
}

const CURVE = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const;

/** Makes the key of one account. Nobody, this page included, can read its private half again. */
export async function makeDeviceKey(): Promise<DeviceKey> {
  const pair = await crypto.subtle.generateKey(CURVE, false, ['sign']);
  const { x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
  return { privateKey: pair.privateKey, jwk: publicJwk({ kty: 'EC', crv: 'P-256', x, y }) };
}

/** The four members of a public key in the order of a thumbprint; fails if it is none. */
export function publicJwk(value: unknown): PublicJwk {
  const { kty, crv, x, y } = (value ?? {}) as Record<string, unknown>;
  if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string') throw new Error('not a P-256 key');
  if (fromBase64url(x).length !== 32 || fromBase64url(y).length !== 32) throw new Error('not a P-256 key');
  return { kty, crv, x, y };
}

/** RFC 7638. */
export async function thumbprint({ crv, kty, x, y }: PublicJwk): Promise<string> {
  return toBase64url(await sha256(utf8(JSON.stringify({ crv, kty, x, y }))));
}

export async function sign(key: CryptoKey, octets: Bytes): Promise<string> {
  return toBase64url(new Uint8Array(await crypto.subtle.sign(SIGNING, key, octets)));
}

/** False for everything that is not a good signature. */
export async function verifies(jwk: PublicJwk, signature: string, octets: Bytes): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey('jwk', { ...jwk }, CURVE, false, ['verify']);
    const raw = fromBase64url(signature);
    return raw.length === 64 && (await crypto.subtle.verify(SIGNING, key, raw, octets));
  } catch {
    return false;
  }
}
