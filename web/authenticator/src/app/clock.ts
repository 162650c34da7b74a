import type { Clock } from '../protocol/client';
import { set, setting } from '../store/db';
import { Watched } from '../store/state';

/** Differences below this are the way of the answer, not a wrong clock. */
const TOLERANCE_MS = 2_000;
/** A difference that was learnt longer ago than this may have been mended since. */
const REMEMBERED_MS = 24 * 3_600_000;

/** The server's clock less ours, in milliseconds. */
export const offset = new Watched(0);

export const clock: Clock = {
  now: () => Date.now() + offset.value,
  learn(serverTime) {
    const difference = serverTime - Date.now();
    offset.set(Math.abs(difference) < TOLERANCE_MS ? 0 : Math.round(difference));
    void set('clock', { offset: offset.value, at: Date.now() }).catch(() => undefined);
  },
};

/** Without a network, codes are made by the clock as it was known last. */
export async function recallClock(): Promise<void> {
  const known = await setting('clock');
  if (known !== undefined && Math.abs(Date.now() - known.at) < REMEMBERED_MS) offset.set(known.offset);
}
