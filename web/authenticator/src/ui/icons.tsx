// Drawn for this app, on a grid of 24; strokes take the colour of the text.

import type { JSX } from 'preact';

const PATHS = {
  plus: 'M12 5v14M5 12h14',
  back: 'M14.5 5.5 8 12l6.5 6.5',
  next: 'M9.5 5.5 16 12l-6.5 6.5',
  camera: 'M4 8V6a2 2 0 0 1 2-2h2M16 4h2a2 2 0 0 1 2 2v2M20 16v2a2 2 0 0 1-2 2h-2M8 20H6a2 2 0 0 1-2-2v-2M8.5 8.5h3v3h-3zM13.5 13.5h2v2h-2zM13.5 8.5h2M8.5 15.5h2',
  keyboard: 'M5 6h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2zM7 10h.01M11 10h.01M15 10h.01M8.5 14.5h7',
  check: 'M5.5 12.5 10 17l8.5-9.5',
  cross: 'M6.5 6.5l11 11M17.5 6.5l-11 11',
  clock: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 7.5V12l3 2',
  alert: 'M12 4.2 21 19.5H3zM12 10v4.5M12 17.2v.01',
  bell: 'M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 1.5h-15zM10 20.5h4',
  copy: 'M9 9h9.5v10.5H9zM5.5 15V4.5H15',
  info: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5M12 7.8v.01',
  split: 'M4 12h5l7-6M9 12l7 6M13 5.5h3.5V9M13 18.5h3.5V15',
  hand: 'M12 3.5 5 6v5.5c0 4.4 2.8 7.6 7 9 4.2-1.4 7-4.6 7-9V6zM12 8.5v4.5M12 16v.01',
  globe: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM3.5 12h17M12 3.5c2.3 2.4 3.4 5.2 3.4 8.5s-1.1 6.1-3.4 8.5c-2.3-2.4-3.4-5.2-3.4-8.5s1.1-6.1 3.4-8.5z',
  share: 'M12 14V3.5M8.5 6.5 12 3.2l3.5 3.3M8 10H6v10.5h12V10h-2',
} as const;

export type IconName = keyof typeof PATHS;

/** Decoration: what it means stands beside it as text. */
export function Icon({ name, turns = false }: { name: IconName; turns?: boolean }): JSX.Element {
  return (
    <svg class={turns ? 'icon turns' : 'icon'} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

const ROUND = 2 * Math.PI * 9;

/** How much of a time is left, from 1 to 0. */
export function Ring({ left, label }: { left: number; label: string }): JSX.Element {
  return (
    <span class={left < 0.2 ? 'ring short' : 'ring'} aria-hidden="true">
      <svg viewBox="0 0 24 24" focusable="false">
        <circle class="track" cx="12" cy="12" r="9" />
        <circle class="rest" cx="12" cy="12" r="9" stroke-dasharray={`${ROUND * left} ${ROUND}`} transform="rotate(-90 12 12)" />
      </svg>
      <span>{label}</span>
    </span>
  );
}
