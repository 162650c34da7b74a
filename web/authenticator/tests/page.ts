// The protocol's page is the source of the vectors.

import { readFileSync } from 'node:fs';
import type { Bytes } from '../src/protocol/bytes';

const page = readFileSync(new URL('../../../docs/reference/device-protocol.md', import.meta.url), 'utf8');

function block(info: string): string {
  const found = new RegExp(`^\`\`\`${info}\\n([\\s\\S]*?)^\`\`\``, 'm').exec(page)?.[1];
  if (found === undefined) throw new Error(`the page has no block ${info}`);
  return found;
}

export function example(name: string): unknown {
  return JSON.parse(block(`json ${name}`));
}

const values = new Map(
  block('text vectors')
    .trimEnd()
    .split('\n')
    .map((line): [string, string] => [line.slice(0, line.indexOf(' = ')), line.slice(line.indexOf(' = ') + 3)]),
);

export function vector(name: string): string {
  const value = values.get(name);
  if (value === undefined) throw new Error(`the page has no vector ${name}`);
  return value;
}

export function hex(octets: Bytes): string {
  return Buffer.from(octets).toString('hex');
}

export function unhex(text: string): Bytes {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

/** The device's key of the vectors; only tests have its private half. */
export async function deviceKey(extractable = false): Promise<CryptoKey> {
  const d = Buffer.from('c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721', 'hex').toString('base64url');
  return crypto.subtle.importKey('jwk', { ...JSON.parse(vector('device_jwk')), d }, { name: 'ECDSA', namedCurve: 'P-256' }, extractable, ['sign']);
}

export async function serverKey(): Promise<CryptoKey> {
  const d = Buffer.from('8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2', 'hex').toString('base64url');
  return crypto.subtle.importKey('jwk', { ...JSON.parse(vector('server_jwk')), d }, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
}
