// Which screen is shown. Screens have paths, so that the browser's way back works.

import { CHALLENGE_ID, WINDOW_ID } from '../protocol/messages';
import { Watched } from '../store/state';

export type Route =
  | { name: 'accounts' | 'add' | 'scan' | 'manual' | 'activate' }
  | { name: 'account' | 'history'; deviceId: string }
  | { name: 'request' | 'window'; id: string };

export function routeOf(path: string): Route {
  const [first = '', second = '', third] = path.replace(/^\//, '').split('/');
  if (first === 'add' && second === '') return { name: 'add' };
  if (first === 'add' && second === 'scan') return { name: 'scan' };
  if (first === 'add' && second === 'manual') return { name: 'manual' };
  if (first === 'activate') return { name: 'activate' };
  if (first === 'accounts' && second !== '') return { name: third === 'history' ? 'history' : 'account', deviceId: second };
  if (first === 'requests' && CHALLENGE_ID.test(second)) return { name: 'request', id: second };
  if (first === 'windows' && WINDOW_ID.test(second)) return { name: 'window', id: second };
  return { name: 'accounts' };
}

export const route = new Watched<Route>(routeOf(location.pathname));

export function go(path: string, how: 'push' | 'replace' = 'push'): void {
  if (how === 'push') history.pushState({ inside: true }, '', path);
  else history.replaceState(history.state, '', path);
  route.set(routeOf(path));
}

/** One screen back, or to `path` when the person came here from outside. */
export function back(path: string): void {
  if ((history.state as { inside?: boolean } | null)?.inside === true) history.back();
  else go(path, 'replace');
}

addEventListener('popstate', () => route.set(routeOf(location.pathname)));
