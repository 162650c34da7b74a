import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { clock } from '../app/clock';
import { back, go } from '../app/route';
import { t } from '../i18n';
import { Icon, type IconName } from './icons';

/** A link inside the app. */
export function Go({ to, children, ...rest }: { to: string; class?: string; 'aria-label'?: string; children: ComponentChildren }): JSX.Element {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a href={to} onClick={follow} {...rest}>
      {children}
    </a>
  );
}

/** The frame of a screen. Its heading takes the focus when the screen appears, so that a screen reader says where one is. */
export function Screen(props: {
  title: string;
  backTo?: string;
  action?: ComponentChildren;
  kind?: string;
  children: ComponentChildren;
}): JSX.Element {
  const heading = useHeading(props.title);
  return (
    <div class={`screen ${props.kind ?? ''}`}>
      <header class="bar">
        {props.backTo !== undefined && <BackButton to={props.backTo} />}
        <h1 ref={heading} tabIndex={-1}>
          {props.title}
        </h1>
        {props.action}
      </header>
      <main>{props.children}</main>
    </div>
  );
}

function BackButton({ to }: { to: string }): JSX.Element {
  return (
    <button type="button" class="round" aria-label={t('back')} onClick={() => back(to)}>
      <Icon name="back" turns />
    </button>
  );
}

let firstScreen = true;

export function useHeading(title: string) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = title;
    // When the app opens, the browser's own order is right.
    if (!firstScreen) heading.current?.focus({ preventScroll: true });
    if (!firstScreen) scrollTo(0, 0);
    firstScreen = false;
  }, []);
  return heading;
}

export function Notice(props: {
  icon: IconName;
  kind?: 'plain' | 'warning';
  title: string;
  children?: ComponentChildren;
  actions?: ComponentChildren;
}): JSX.Element {
  return (
    <section class={`notice ${props.kind ?? 'plain'}`}>
      <Icon name={props.icon} />
      <div>
        <h2>{props.title}</h2>
        {props.children}
        {props.actions !== undefined && <div class="actions">{props.actions}</div>}
      </div>
    </section>
  );
}

/** Draws again every so often, on the beat of the clock. */
export function useNow(now: () => number, everyMs: number): number {
  const [value, setValue] = useState(now());
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const tick = () => {
      setValue(now());
      timer = setTimeout(tick, everyMs - (now() % everyMs));
    };
    tick();
    return () => clearTimeout(timer);
  }, [everyMs]);
  return value;
}

/** Seconds by the server's clock. A screen reader hears them once, when there are few. `over` is said when none is left. */
export function TimeLeft({ until, from, over }: { until: number; from: number; over?: string }): JSX.Element {
  const now = useNow(clock.now, 1_000);
  const seconds = Math.max(0, Math.ceil((until - now) / 1_000));
  useEffect(() => {
    if (seconds === 10) announce(t('seconds_left', { n: seconds }));
  }, [seconds]);
  return (
    <p class={seconds <= 10 ? 'time-left short' : 'time-left'}>
      <progress max={Math.max(1, until - from)} value={Math.max(0, until - now)} aria-hidden="true" />
      <span>{seconds === 0 && over !== undefined ? over : t('seconds_left', { n: seconds })}</span>
    </p>
  );
}

/** How something ended: it fills the screen, and is read out. What to do next are the children. */
export function Outcome(props: { icon: IconName; kind: string; title: string; text: string; children: ComponentChildren }): JSX.Element {
  const heading = useHeading(props.title);
  useEffect(() => announce(props.text), [props.text]);
  return (
    <div class="screen request">
      <main class="middle">
        <span class={`result ${props.kind}`}>
          <Icon name={props.icon} />
        </span>
        <h1 ref={heading} tabIndex={-1}>
          {props.title}
        </h1>
        <p class="lead">{props.text}</p>
        <div class="answers">{props.children}</div>
      </main>
    </div>
  );
}

const said = { current: null as HTMLDivElement | null };
let clearing: ReturnType<typeof setTimeout> | undefined;

/** The one place from which things are said to a screen reader. */
export function Announcer(): JSX.Element {
  return <div class="unseen" role="status" aria-live="polite" ref={said} />;
}

export function announce(text: string): void {
  if (said.current === null) return;
  said.current.textContent = text;
  // Nobody is to find it later, on another screen.
  clearTimeout(clearing);
  clearing = setTimeout(() => said.current?.replaceChildren(), 5_000);
}
