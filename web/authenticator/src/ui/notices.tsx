// What is missing, and what to do about it. The most pressing comes first.

import type { JSX } from 'preact';
import { holders } from '../app/accounts';
import { resume } from '../app/activate';
import { offset } from '../app/clock';
import { installOffer, isAppleTab, isInstalled, storage, worker } from '../app/environment';
import { postpone, postponed, pushState, syncPush, turnOn } from '../app/push';
import { unreadable } from '../app/requests';
import { distrusted, info, reach } from '../app/server';
import { meetServer, unfinished } from '../app/start';
import { ActivationError } from '../app/activate';
import { type Key, t } from '../i18n';
import { setPending } from '../store/db';
import { useWatched } from '../store/state';
import { problemText } from './activation-form';
import { Notice } from './parts';

/** Codes are still good at half a step of difference. */
const CLOCK_MS = 15_000;

/** Above the accounts: what keeps them from working. */
export function Notices(): JSX.Element {
  return (
    <>
      <OtherAddress />
      <Unfinished />
      <Trust />
      <Network />
      <WrongClock />
      <Unkept />
      <Push />
    </>
  );
}

function OtherAddress(): JSX.Element | null {
  const server = useWatched(info);
  if (server === null || server.origin === location.origin) return null;
  return (
    <Notice
      icon="alert"
      kind="warning"
      title={t('other_address_title')}
      actions={
        <a class="button main" href={server.origin} rel="noreferrer">
          {t('open_other', { address: server.origin })}
        </a>
      }
    >
      <p>{t('other_address_text')}</p>
    </Notice>
  );
}

function Unfinished(): JSX.Element | null {
  const now = useWatched(unfinished);
  if (now === null) return null;
  const again = async () => {
    try {
      await resume(now.pending);
      unfinished.set(null);
    } catch (error) {
      unfinished.set({ pending: now.pending, problem: error instanceof ActivationError ? error : new ActivationError('refused') });
    }
  };
  const drop = async () => {
    await setPending(null);
    unfinished.set(null);
  };
  return (
    <Notice
      icon="clock"
      title={t('unfinished_title')}
      actions={
        <>
          <button type="button" class="button main" onClick={() => void again()}>
            {t('try_again')}
          </button>
          <button type="button" class="button" onClick={() => void drop()}>
            {t('discard')}
          </button>
        </>
      }
    >
      <p>{now.problem === null ? t('unfinished_text') : problemText(now.problem)}</p>
    </Notice>
  );
}

function Trust(): JSX.Element | null {
  const without = useWatched(distrusted);
  const unread = useWatched(unreadable);
  const state = useWatched(worker);
  const say = (title: Key, text: Key) => (
    <Notice icon="alert" kind="warning" title={t(title)}>
      <p>{t(text)}</p>
    </Notice>
  );
  if (without.size > 0) return say('distrusted_title', 'distrusted_text');
  if (unread === 'bad') return say('bad_challenge_title', 'bad_challenge_text');
  if (unread === 'newer') return say('newer_title', 'newer_text');
  if (state === 'not trusted') return say('certificate_title', 'certificate_text');
  if (state === 'failed' || state === 'unsupported') return say('no_worker_title', 'no_worker_text');
  return null;
}

function Network(): JSX.Element | null {
  const state = useWatched(reach);
  if (state !== 'unreachable') return null;
  return (
    <Notice
      icon="alert"
      title={t('unreachable_title')}
      actions={
        <button type="button" class="button" onClick={() => void meetServer()}>
          {t('try_again')}
        </button>
      }
    >
      <p>{t(navigator.onLine ? 'unreachable_text' : 'offline_text')}</p>
    </Notice>
  );
}

function WrongClock(): JSX.Element | null {
  const difference = useWatched(offset);
  if (Math.abs(difference) < CLOCK_MS) return null;
  const seconds = Math.round(Math.abs(difference) / 1_000);
  const key = seconds < 120 ? (difference < 0 ? 'clock_fast_seconds' : 'clock_slow_seconds') : difference < 0 ? 'clock_fast' : 'clock_slow';
  return (
    <Notice icon="clock" kind="warning" title={t(key, { n: seconds < 120 ? seconds : Math.round(seconds / 60) })}>
      <p>{t('clock_text')}</p>
    </Notice>
  );
}

function Unkept(): JSX.Element | null {
  const state = useWatched(storage);
  if (isAppleTab()) {
    return (
      <Notice icon="share" title={t('home_title')}>
        <p>{t('home_text')}</p>
      </Notice>
    );
  }
  if (state === 'private' || state === 'none') {
    return (
      <Notice icon="alert" kind="warning" title={t(state === 'private' ? 'private_title' : 'no_storage_title')}>
        <p>{t(state === 'private' ? 'private_text' : 'no_storage_text')}</p>
      </Notice>
    );
  }
  return null;
}

/** Below the accounts: installed, the app is at hand, and the browser does not clear it away. */
export function InstallAdvice(): JSX.Element | null {
  const state = useWatched(storage);
  const offer = useWatched(installOffer);
  const all = useWatched(holders);
  if (isAppleTab() || state === 'private' || state === 'none') return null;
  if (isInstalled() || all.length === 0 || (state === 'kept' && offer === null)) return null;
  return (
    <Notice
      icon="info"
      title={t('install_title')}
      actions={
        offer !== null && (
          <button type="button" class="button main" onClick={() => void offer.prompt().then(() => installOffer.set(null))}>
            {t('install')}
          </button>
        )
      }
    >
      <p>{t(offer === null ? 'install_by_menu_text' : 'install_text')}</p>
    </Notice>
  );
}

function Push(): JSX.Element | null {
  const state = useWatched(pushState);
  const later = useWatched(postponed);
  const all = useWatched(holders);
  if (all.length === 0) return null;
  const say = (title: Key, text: Key, actions?: JSX.Element) => (
    <Notice icon="bell" title={t(title)} actions={actions}>
      <p>{t(text)}</p>
    </Notice>
  );
  if (state === 'ask' && later) return null;
  switch (state) {
    case 'ask':
      return say(
        'push_ask_title',
        'push_ask_text',
        <>
          <button type="button" class="button main" onClick={() => void turnOn()}>
            {t('push_turn_on')}
          </button>
          <button type="button" class="button" onClick={() => void postpone()}>
            {t('not_now')}
          </button>
        </>,
      );
    case 'refused':
      return say('push_refused_title', 'push_refused_text');
    case 'unsupported':
      return say('push_unsupported_title', 'push_unsupported_text');
    case 'failed':
      return say(
        'push_failed_title',
        'push_failed_text',
        <button type="button" class="button" onClick={() => void syncPush()}>
          {t('try_again')}
        </button>,
      );
    default:
      return null;
  }
}
