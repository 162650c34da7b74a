// Octets, texts and base64url (RFC 4648 section 5, without padding).

/** Octets that own an ordinary buffer: what WebCrypto takes. */
export type Bytes = Uint8Array<ArrayBuffer>;

const BASE64URL = /^[A-Za-z0-9_-]*$/;

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

/** Fails when the octets are not UTF-8. */
export function fromUtf8(octets: Bytes): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
}

export function toBase64url(octets: Bytes): string {
  let binary = '';
  for (const octet of octets) binary += String.fromCharCode(octet);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Fails on padding, white space, foreign characters and bits that are set although unused. */
export function fromBase64url(text: string): Bytes {
  if (!BASE64URL.test(text) || text.length % 4 === 1) throw new Error('not base64url');
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  const octets = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) octets[i] = binary.charCodeAt(i);
  if (toBase64url(octets) !== text) throw new Error('not base64url');
  return octets;
}

export async function sha256(octets: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', octets));
}

export function randomToken(): string {
  return toBase64url(crypto.getRandomValues(new Uint8Array(16)));
}
