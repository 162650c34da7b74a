import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Decision } from '../protocol/challenge';
import type { ClosingState } from '../protocol/messages';
import { holderOf, holders } from '../app/accounts';
import { type Problem, type SignIn, answer, checkAll, credentialFor, find, lookUp, report, signIns, waiting } from '../app/requests';
import { go } from '../app/route';
import { type Key, t, timeOfDay, visible } from '../i18n';
import { useWatched } from '../store/state';
import { available } from '../app/verification';
import { SetUp } from './confirm';
import { Icon, type IconName } from './icons';
import { Outcome, TimeLeft, announce, useHeading } from './parts';

/** Buttons that just appeared, or moved, do not take a tap that was meant for something else. */
const DEAD_MS = 500;

export function RequestScreen({ id }: { id: string }): JSX.Element {
  useWatched(signIns);
  const signIn = find(id);
  if (signIn === undefined) return <Absent id={id} />;
  if (signIn.stage.kind === 'ended') return <Ended key="ended" signIn={signIn} stage={signIn.stage} />;
  if (signIn.stage.kind === 'code') return <CodeToPhone key="code" signIn={signIn} code={signIn.stage.code} />;
  return <Question key="question" signIn={signIn} />;
}

/** To the next that waits, or home. */
function close(): void {
  const next = waiting()[0];
  go(next === undefined ? '/' : `/requests/${next.challenge.id}`, 'replace');
}

/** True once the screen has stood still, in sight, for a moment. */
function useSteady(watched: unknown): boolean {
  const [steady, setSteady] = useState(false);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const wait = () => {
      setSteady(false);
      clearTimeout(timer);
      timer = setTimeout(() => setSteady(document.visibilityState === 'visible'), DEAD_MS);
    };
    wait();
    const events = ['focus', 'resize', 'pageshow'] as const;
    for (const event of events) addEventListener(event, wait);
    document.addEventListener('visibilitychange', wait);
    return () => {
      clearTimeout(timer);
      for (const event of events) removeEventListener(event, wait);
      document.removeEventListener('visibilitychange', wait);
    };
  }, [watched]);
  return steady;
}

function Question({ signIn }: { signIn: SignIn }): JSX.Element {
  const { challenge, stage } = signIn;
  const { context } = challenge;
  const heading = useHeading(t('request_title'));
  const problem = stage.kind === 'waiting' ? stage.problem : null;
  const steady = useSteady(problem);
  const [number, setNumber] = useState('');
  const numberBox = useRef<HTMLInputElement>(null);
  const [numberMissing, setNumberMissing] = useState(false);
  const denyFirst = context.recentApproval !== null;
  useWatched(holders);
  const unable = challenge.userVerification === 'required' && credentialFor(signIn) === null;
  const unverified = challenge.userVerification === 'preferred' && (problem === 'cancelled' || problem === 'impossible' || problem === 'not accepted');
  const typed = challenge.numberMode === 'typed';

  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    announce(t('request_announce', { application: visible(context.application.name) }));
  }, []);

  const give = (decision: Decision, without = false) => {
    if (!steady) return;
    const wanted = typed && decision === 'verify' ? number.replaceAll(/\s/g, '') : null;
    if (wanted !== null && !/^\d{1,16}$/.test(wanted)) {
      setNumberMissing(true);
      numberBox.current?.focus();
      return;
    }
    void answer(challenge.id, decision, wanted, without);
  };
  const button = (decision: Decision, kind: string, text: Key) => (
    <button
      type="button"
      key={decision}
      class={`answer ${kind}`}
      aria-disabled={!steady || stage.kind === 'sending'}
      aria-busy={stage.kind === 'sending' && stage.decision === decision}
      onClick={() => give(decision)}
    >
      {t(text)}
    </button>
  );
  const verify = unable ? null : button('verify', 'verify', challenge.numberMode === 'code_to_phone' ? 'show_code' : 'verify');

  return (
    <div class="screen request">
      <main>
        <Whose signIn={signIn} />
        <h1 ref={heading} tabIndex={-1}>
          {t('request_title')}
        </h1>
        <TimeLeft until={context.expiresAt} from={context.requestedAt} />
        {context.recentApproval !== null && (
          <div class="banner">
            <Icon name="alert" />
            <p>
              {t('recent_approval', {
                application: visible(context.recentApproval.application),
                time: timeOfDay(context.recentApproval.at),
              })}
            </p>
          </div>
        )}
        <Facts signIn={signIn} />
        {unable && <SetUpFirst signIn={signIn} />}
        {typed && !unable && (
          <label class="number">
            {t('number_label')}
            <input
              ref={numberBox}
              dir="ltr"
              inputMode="numeric"
              autoComplete="off"
              maxLength={20}
              value={number}
              aria-invalid={numberMissing}
              aria-describedby="number-wrong"
              onInput={(event) => {
                setNumber(event.currentTarget.value);
                setNumberMissing(false);
              }}
            />
            <small id="number-wrong" class="wrong">
              {numberMissing && t('number_missing')}
            </small>
          </label>
        )}
        <ProblemLine problem={problem} />
        <div class="answers">
          {!denyFirst && verify}
          {button('deny', 'deny', 'deny')}
          {button('deny_report', 'report', 'not_me')}
          {denyFirst && verify}
          {unverified && (
            <button type="button" class="answer" aria-disabled={!steady} onClick={() => give('verify', true)}>
              {t('verify_without')}
            </button>
          )}
        </div>
      </main>
    </div>
  );
}

/** The application asks for a verified person, and this account has nothing yet to verify one with. */
function SetUpFirst({ signIn }: { signIn: SignIn }): JSX.Element {
  const can = useWatched(available);
  const holder = holderOf(signIn.holder.account.deviceId) ?? signIn.holder;
  return (
    <div class="banner">
      <Icon name="alert" />
      <div>
        <p>{t(can ? 'verification_needed' : 'verification_unavailable')}</p>
        {can && <SetUp holder={holder} />}
      </div>
    </div>
  );
}

function Whose({ signIn }: { signIn: SignIn }): JSX.Element {
  const all = useWatched(holders);
  const { account } = signIn.holder;
  const more = waiting().length - 1;
  return (
    <p class="whose">
      <bdi>{visible(account.organization)}</bdi>
      {all.length > 1 && (
        <>
          {' · '}
          <bdi>{visible(account.displayName)}</bdi>
        </>
      )}
      {more > 0 && <span class="more">{t('more_waiting', { n: more })}</span>}
    </p>
  );
}

const TRUST: Record<string, Key> = { verified: 'trust_verified', reported: 'trust_reported', unknown: 'trust_unknown' };

function Facts({ signIn }: { signIn: SignIn }): JSX.Element {
  const { application, user, client, place, requestedAt } = signIn.challenge.context;
  return (
    <dl class="facts card">
      <dt>{t('application')}</dt>
      <dd class="first">
        <bdi>{visible(application.name)}</bdi>
      </dd>
      <dt>{t('user')}</dt>
      <dd>
        <bdi>{visible(user)}</bdi>
      </dd>
      <dt>{t('from')}</dt>
      <dd>
        {place !== null && (
          <>
            <bdi>{visible(place)}</bdi>{' '}
          </>
        )}
        {client !== null && <bdi dir="ltr">{visible(client.address)}</bdi>}
        <small>{t(client === null ? 'trust_nothing' : (TRUST[client.trust] ?? 'trust_unknown'))}</small>
      </dd>
      <dt>{t('when')}</dt>
      <dd>{timeOfDay(requestedAt)}</dd>
    </dl>
  );
}

const PROBLEMS: Record<Problem, Key> = {
  unreachable: 'answer_unreachable',
  refused: 'answer_refused',
  'number needed': 'number_missing',
  cancelled: 'verification_cancelled',
  impossible: 'verification_impossible',
  'not accepted': 'verification_not_accepted',
  'not set up': 'verification_needed',
};

function ProblemLine({ problem }: { problem: Problem | null }): JSX.Element {
  return (
    <p class="problem" role="alert" hidden={problem === null}>
      {problem !== null && t(PROBLEMS[problem])}
    </p>
  );
}

function CodeToPhone({ signIn, code }: { signIn: SignIn; code: string }): JSX.Element {
  const { challenge, stage } = signIn;
  const heading = useHeading(t('code_to_phone_title'));
  const problem = stage.kind === 'code' ? stage.problem : null;
  const steady = useSteady(problem);
  const half = Math.ceil(code.length / 2);
  const give = (decision: Decision) => steady && void answer(challenge.id, decision);
  return (
    <div class="screen request">
      <main>
        <Whose signIn={signIn} />
        <h1 ref={heading} tabIndex={-1}>
          {t('code_to_phone_title')}
        </h1>
        <p class="code large">
          <bdi dir="ltr" class="digits">
            <span>{code.slice(0, half)}</span> <span>{code.slice(half)}</span>
          </bdi>
        </p>
        <TimeLeft until={challenge.context.expiresAt} from={challenge.context.requestedAt} />
        <p class="lead">{t('code_to_phone_text', { application: visible(challenge.context.application.name) })}</p>
        <ProblemLine problem={problem} />
        <div class="answers">
          <button type="button" class="answer deny" aria-disabled={!steady} onClick={() => give('deny')}>
            {t('deny')}
          </button>
          <button type="button" class="answer report" aria-disabled={!steady} onClick={() => give('deny_report')}>
            {t('not_me')}
          </button>
        </div>
      </main>
    </div>
  );
}

const RESULTS: Record<ClosingState, { icon: IconName; title: Key; text: Key; kind: string }> = {
  approved: { icon: 'check', title: 'result_approved_title', text: 'result_approved_text', kind: 'good' },
  denied: { icon: 'cross', title: 'result_denied_title', text: 'result_denied_text', kind: 'bad' },
  expired: { icon: 'clock', title: 'result_expired_title', text: 'result_expired_text', kind: '' },
  cancelled: { icon: 'cross', title: 'result_cancelled_title', text: 'result_cancelled_text', kind: '' },
  collision: { icon: 'split', title: 'result_collision_title', text: 'result_collision_text', kind: 'bad' },
  superseded: { icon: 'clock', title: 'result_superseded_title', text: 'result_superseded_text', kind: '' },
};

function Ended({ signIn, stage }: { signIn: SignIn; stage: Extract<SignIn['stage'], { kind: 'ended' }> }): JSX.Element {
  const { id, context } = signIn.challenge;
  const text: Key = stage.numberWrong ? 'result_number_wrong_text' : stage.report === 'sent' ? 'result_reported_text' : RESULTS[stage.state].text;
  const reported = stage.report === 'sent';
  return (
    <Result
      state={stage.state}
      title={reported ? 'result_reported_title' : undefined}
      icon={reported ? 'hand' : undefined}
      text={t(text, { application: visible(context.application.name) })}
      alone={stage.state !== 'collision' || reported}
    >
      {!reported && (
        <button
          type="button"
          class={stage.state === 'collision' ? 'answer report' : 'button quiet'}
          disabled={stage.report === 'sending'}
          onClick={() => void report(id)}
        >
          {t('not_me')}
        </button>
      )}
      <p class="problem" role="alert" hidden={stage.report !== 'failed'}>
        {stage.report === 'failed' && t('report_failed')}
      </p>
    </Result>
  );
}

/** A sign-in that this app never saw, named by a notification. */
function Absent({ id }: { id: string }): JSX.Element {
  const [state, setState] = useState<ClosingState | 'looking' | 'unknown'>('looking');
  useEffect(() => {
    let wanted = true;
    const look = async () => {
      await checkAll();
      const known = await lookUp(id);
      if (wanted && find(id) === undefined) setState(known ?? 'unknown');
    };
    void look();
    return () => void (wanted = false);
  }, [id]);
  if (state === 'looking') {
    return (
      <div class="screen request">
        <main class="middle">
          <h1 class="calm">{t('looking_for_request')}</h1>
        </main>
      </div>
    );
  }
  if (state === 'unknown') return <Result key="end" state="expired" title="request_gone_title" text={t('request_gone_text')} alone />;
  const text = t(state === 'collision' ? 'result_collision_text' : 'request_gone_text');
  return <Result key="end" state={state} text={text} alone />;
}

function Result(props: {
  state: ClosingState;
  title?: Key | undefined;
  icon?: IconName | undefined;
  text: string;
  /** Close is the one thing to do. */
  alone: boolean;
  children?: JSX.Element | (JSX.Element | false)[];
}): JSX.Element {
  const { icon, kind, title } = RESULTS[props.state];
  return (
    <Outcome icon={props.icon ?? icon} kind={props.icon === undefined ? kind : 'good'} title={t(props.title ?? title)} text={props.text}>
      <button type="button" class={props.alone ? 'button main' : 'answer'} onClick={close}>
        {t('close')}
      </button>
      {props.children}
    </Outcome>
  );
}
