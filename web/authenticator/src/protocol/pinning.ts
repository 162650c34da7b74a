import { type PublicJwk, thumbprint, verifies } from './keys';
import type { ServerInfo } from './messages';
import { endorsementOctets } from './signed';

/** What an account keeps of its server from the activation on. */
export interface Pin {
  origin: string;
  deploymentId: string;
  signingKey: PublicJwk;
}

/**
 * The signing key to trust from now on: the kept one, or the one that it leads to, step by step. Null when the server
 * is another one or its key does not follow from ours; then nothing that it says is to be trusted.
 */
export async function follow(pin: Pin, server: ServerInfo): Promise<PublicJwk | null> {
  if (server.origin !== pin.origin || server.deploymentId !== pin.deploymentId) return null;
  let trusted = await thumbprint(pin.signingKey);
  const stated = await thumbprint(server.signingKey);
  if (trusted === stated) return pin.signingKey;
  for (const step of server.endorsements) {
    if ((await thumbprint(step.by)) !== trusted) continue;
    if (await verifies(step.by, step.signature, endorsementOctets(step.thumbprint))) trusted = step.thumbprint;
  }
  return trusted === stated ? server.signingKey : null;
}
