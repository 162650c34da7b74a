// News from the server: one stream for each account, held by one visible window of this browser. As long as a stream
// has not spoken, the list is asked again and again, so a proxy that holds streams back costs seconds and not logins.

import { RefusedError } from '../protocol/client';
import { readChallenge, readClosed, readWindowClosed } from '../protocol/messages';
import { type ServerEvent, readEvents } from '../protocol/sse';
import { type Holder, able, holders } from './accounts';
import { tell } from './channel';
import { check, checkAll, ended, take } from './requests';
import { events } from './server';
import { checkWindows, learnApplications, windowEnded } from './windows';

const LOCK = 'countersign-stream';
/** The server sends a comment every 20 seconds. */
const SILENCE_MS = 45_000;
const POLL_MS = 4_000;
const LONGEST_PAUSE_MS = 30_000;
/** Under HTTP/1.1 a browser opens six connections to a host; the other accounts are asked in turn. */
const STREAMS = 4;

let running: AbortController | null = null;

/** Listens while this window is visible. */
export function listen(): void {
  const restart = () => {
    running?.abort();
    running = null;
    if (document.visibilityState !== 'visible' || able().length === 0) return;
    running = new AbortController();
    void hold(running.signal);
  };
  document.addEventListener('visibilitychange', restart);
  addEventListener('online', restart);
  addEventListener('pagehide', () => running?.abort());
  addEventListener('pageshow', (event) => (event as PageTransitionEvent).persisted && restart());
  let known = '';
  const accountsChanged = () => {
    const now = able().map(({ account }) => account.deviceId).join();
    if (now !== known) restart();
    known = now;
  };
  holders.watch(accountsChanged);
  accountsChanged();
}

async function hold(signal: AbortSignal): Promise<void> {
  // Whoever gets the lock later still sees at once what waits now.
  void checkAll();
  for (const holder of able()) void Promise.allSettled([checkWindows(holder), learnApplications(holder)]);
  const work = () => Promise.all(able().map((holder, index) => (index < STREAMS ? follow(holder, signal) : poll(holder, signal))));
  try {
    if (navigator.locks === undefined) await work();
    else await navigator.locks.request(LOCK, { signal }, work);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Keeps the stream of one account open. */
async function follow(holder: Holder, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    const attempt = new AbortController();
    const polling = new AbortController();
    const stop = () => {
      attempt.abort();
      polling.abort();
    };
    signal.addEventListener('abort', stop);
    let watchdog = setTimeout(stop, SILENCE_MS);
    const heard = () => {
      failures = 0;
      polling.abort();
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENCE_MS);
    };
    void poll(holder, polling.signal);
    try {
      await readEvents(await events(holder, attempt.signal), heard, (event) => void receive(holder, event));
    } catch (error) {
      failures += error instanceof RefusedError ? 3 : 1;
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener('abort', stop);
      stop();
    }
    await pause(Math.min(LONGEST_PAUSE_MS, 500 * 2 ** failures * (0.75 + Math.random() / 2)), signal);
  }
}

async function receive(holder: Holder, event: ServerEvent): Promise<void> {
  const { deviceId } = holder.account;
  try {
    if (event.name === 'challenge') {
      const wire = readChallenge(JSON.parse(event.data));
      tell({ type: 'challenge', deviceId, wire });
      await take(deviceId, wire);
    } else if (event.name === 'challenge-closed') {
      const { id, state } = readClosed(JSON.parse(event.data));
      tell({ type: 'closed', id, state });
      ended(id, state);
    } else if (event.name === 'window-closed') {
      const { id, state } = readWindowClosed(JSON.parse(event.data));
      tell({ type: 'window closed', id, state });
      windowEnded(id, state);
    }
  } catch {
    // What cannot be read is told by the list, if it is true.
    await Promise.allSettled([check(holder), checkWindows(holder)]);
  }
}

async function poll(holder: Holder, signal: AbortSignal): Promise<void> {
  let failures = 0;
  for (;;) {
    await pause(POLL_MS * Math.min(8, 2 ** failures), signal);
    if (signal.aborted) return;
    await Promise.all([check(holder), checkWindows(holder)]).then(
      () => (failures = 0),
      () => (failures += 1),
    );
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
