import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { type Holder, holderOf, holders } from '../app/accounts';
import { clock } from '../app/clock';
import { back, go } from '../app/route';
import { available } from '../app/verification';
import { type SignInWindow, findWindow, learnApplications, openAgain, openWindow, runningWindow, windows } from '../app/windows';
import { type Key, t, timeOfDay, visible } from '../i18n';
import type { WindowEnd } from '../protocol/messages';
import type { WindowRefusal } from '../protocol/window';
import { useWatched } from '../store/state';
import { SetUp } from './confirm';
import type { IconName } from './icons';
import { Outcome, TimeLeft, announce, useHeading } from './parts';

const LIFE_MS = 60_000;

/** In the account: a button for each application that a sign-in can be announced to. */
export function WindowButtons({ holder }: { holder: Holder }): JSX.Element | null {
  useWatched(windows);
  const { deviceId, applications = [] } = holder.account;
  useEffect(() => void learnApplications(holder).catch(() => undefined), [deviceId]);
  if (applications.length === 0) return null;
  return (
    <section class="windows">
      {applications.map((application) => {
        const running = runningWindow(deviceId, application.id);
        const name = visible(application.name);
        return (
          <button
            type="button"
            class="button main"
            key={application.id}
            aria-describedby="windows-hint"
            onClick={() => go(`/windows/${running?.id ?? openWindow(holder, application)}`)}
          >
            {t(running?.stage.kind === 'open' ? 'window_open_title' : 'window_begin', { application: name })}
          </button>
        );
      })}
      <p class="hint" id="windows-hint">
        {t('window_hint')}
      </p>
    </section>
  );
}

export function WindowScreen({ id }: { id: string }): JSX.Element {
  useWatched(windows);
  const window = findWindow(id);
  useEffect(() => {
    if (window === undefined) go('/', 'replace');
  }, [window]);
  if (window === undefined) return <></>;
  const { stage } = window;
  if (stage.kind === 'opening') return <Opening key="opening" window={window} />;
  if (stage.kind === 'open') return <Open key="open" window={window} expiresAt={stage.expiresAt} />;
  if (stage.kind === 'ended') return <Ended key="ended" window={window} state={stage.state} />;
  return <Refused key="refused" window={window} refusal={stage.refusal} />;
}

function Opening({ window }: { window: SignInWindow }): JSX.Element {
  const heading = useHeading(t('window_opening'));
  return (
    <div class="screen request">
      <main class="middle">
        <h1 class="calm" ref={heading} tabIndex={-1}>
          {t('window_opening')}
        </h1>
        <p class="lead">{t('window_wait', { application: visible(window.application.name) })}</p>
        <div class="answers">
          <Back window={window} />
        </div>
      </main>
    </div>
  );
}

function Open({ window, expiresAt }: { window: SignInWindow; expiresAt: number }): JSX.Element {
  const application = visible(window.application.name);
  const title = t('window_open_title', { application });
  const heading = useHeading(title);
  useEffect(() => announce(t('window_open_text')), []);
  return (
    <div class="screen request">
      <main class="window">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        <TimeLeft until={expiresAt} from={expiresAt - LIFE_MS} over={t('window_settling')} />
        <p class="lead">{t('window_open_text')}</p>
        <div class="answers">
          <Back window={window} />
        </div>
      </main>
    </div>
  );
}

function Back({ window, main = false }: { window: SignInWindow; main?: boolean }): JSX.Element {
  return (
    <button type="button" class={main ? 'button main' : 'button'} onClick={() => back(`/accounts/${window.deviceId}`)}>
      {t('back')}
    </button>
  );
}

function Again({ window, text = 'try_again', unverified = false }: { window: SignInWindow; text?: Key; unverified?: boolean }): JSX.Element {
  return (
    <button
      type="button"
      class={unverified ? 'button' : 'button main'}
      onClick={() => go(`/windows/${openAgain(window.id, unverified)}`, 'replace')}
    >
      {t(text)}
    </button>
  );
}

const ENDS: Record<WindowEnd, { icon: IconName; kind: string; title: Key; text: Key }> = {
  approved: { icon: 'check', kind: 'good', title: 'window_approved_title', text: 'window_approved_text' },
  expired: { icon: 'clock', kind: '', title: 'window_expired_title', text: 'window_expired_text' },
  collision: { icon: 'split', kind: 'bad', title: 'result_collision_title', text: 'window_collision_text' },
  cancelled: { icon: 'cross', kind: '', title: 'window_cancelled_title', text: 'window_cancelled_text' },
};

function Ended({ window, state }: { window: SignInWindow; state: WindowEnd }): JSX.Element {
  const { icon, kind, title, text } = ENDS[state];
  return (
    <Outcome icon={icon} kind={kind} title={t(title)} text={t(text, { application: visible(window.application.name) })}>
      {state === 'expired' && <Again window={window} />}
      <Back window={window} main={state !== 'expired'} />
    </Outcome>
  );
}

/** What a person can do about a refusal besides going back. */
const AGAIN: Record<WindowRefusal['kind'], 'try again' | 'try again or without' | 'nothing'> = {
  login_under_way: 'try again',
  login_unapproved: 'nothing',
  too_many_attempts: 'nothing',
  window_open: 'nothing',
  account_frozen: 'nothing',
  application_unknown: 'nothing',
  device_unknown: 'nothing',
  device_removed: 'nothing',
  account_disabled: 'nothing',
  user_verification_required: 'try again',
  user_verification_unsupported: 'try again',
  assertion_invalid: 'try again or without',
  cancelled: 'try again or without',
  impossible: 'try again or without',
  unreachable: 'try again',
  refused: 'try again',
};

function Refused({ window, refusal }: { window: SignInWindow; refusal: WindowRefusal }): JSX.Element {
  useWatched(holders);
  const can = useWatched(available);
  const holder = holderOf(window.deviceId);
  const asked = refusal.kind === 'user_verification_required' || refusal.kind === 'user_verification_unsupported';
  const without = asked && (holder?.account.credentialId ?? null) === null;
  const next = without ? (can ? 'set up' : 'nothing') : AGAIN[refusal.kind];
  const application = visible(window.application.name);
  const text = without && !can ? t('window_check_unavailable', { application }) : reason(refusal, application, without);
  return (
    <Outcome icon="alert" kind="" title={t('window_refused_title')} text={text}>
      {next === 'set up' && holder !== undefined && <SetUp holder={holder} />}
      {(next === 'try again' || next === 'try again or without') && <Again window={window} />}
      {next === 'try again or without' && <Again window={window} text="window_without" unverified />}
      <Back window={window} main={next === 'nothing'} />
    </Outcome>
  );
}

const REASONS: Record<Exclude<WindowRefusal['kind'], 'login_under_way' | 'login_unapproved' | 'too_many_attempts'>, Key> = {
  window_open: 'window_is_open',
  account_frozen: 'window_frozen',
  application_unknown: 'window_application_gone',
  device_unknown: 'unknown_text',
  device_removed: 'removed_text',
  account_disabled: 'disabled_text',
  user_verification_required: 'window_check_needed',
  user_verification_unsupported: 'window_check_needed',
  assertion_invalid: 'verification_not_accepted',
  cancelled: 'verification_cancelled',
  impossible: 'verification_impossible',
  unreachable: 'window_unreachable',
  refused: 'window_refused',
};

function reason(refusal: WindowRefusal, application: string, unregistered: boolean): string {
  switch (refusal.kind) {
    case 'login_under_way':
    case 'login_unapproved':
      // The person looks at the clock of this device.
      return t(refusal.kind === 'login_under_way' ? 'window_under_way' : 'window_unapproved', {
        application,
        time: timeOfDay(refusal.until - clock.now() + Date.now()),
      });
    case 'too_many_attempts':
      return t('window_too_many', { n: Math.max(1, Math.ceil(refusal.seconds / 60)) });
    default:
      return t(unregistered ? 'window_check_set_up' : REASONS[refusal.kind], { application });
  }
}
