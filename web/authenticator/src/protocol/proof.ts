// Proofs after RFC 9449, with the digest of the body besides.

import { sha256, toBase64url, utf8 } from './bytes';
import { type DeviceKey, sign } from './keys';

export interface ProofClaims {
  htm: string;
  htu: string;
  /** Unix seconds by the server's clock. */
  iat: number;
  jti: string;
  nonce: string;
}

/** Header and claims, the part of a proof that is signed. */
export async function proofInput({ kty, crv, x, y }: DeviceKey['jwk'], claims: ProofClaims, body: string): Promise<string> {
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } };
  const { htm, htu, iat, jti, nonce } = claims;
  const bh = toBase64url(await sha256(utf8(body)));
  const encode = (part: object) => toBase64url(utf8(JSON.stringify(part)));
  return `${encode(header)}.${encode({ htm, htu, iat, jti, nonce, bh })}`;
}

export async function makeProof(key: DeviceKey, claims: ProofClaims, body: string): Promise<string> {
  const input = await proofInput(key.jwk, claims, body);
  return `${input}.${await sign(key.privateKey, utf8(input))}`;
}
