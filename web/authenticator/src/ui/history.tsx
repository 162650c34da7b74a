import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { holderOf } from '../app/accounts';
import { go } from '../app/route';
import { call } from '../app/server';
import { type Key, dateAndTime, t, visible } from '../i18n';
import { type PastLogin, readHistory } from '../protocol/messages';
import { Icon, type IconName } from './icons';
import { Screen } from './parts';

const VERDICTS: Record<string, { icon: IconName; text: Key; kind: string }> = {
  approved: { icon: 'check', text: 'verdict_approved', kind: 'good' },
  denied: { icon: 'cross', text: 'verdict_denied', kind: 'bad' },
  expired: { icon: 'clock', text: 'verdict_expired', kind: '' },
  cancelled: { icon: 'cross', text: 'verdict_cancelled', kind: '' },
  collision: { icon: 'split', text: 'verdict_collision', kind: 'bad' },
  superseded: { icon: 'next', text: 'verdict_superseded', kind: '' },
};

/** Of these nobody was asked: who sees one that was not them has to act. */
const UNASKED: Record<string, Key> = { bypass: 'unasked_bypass', remembered: 'unasked_remembered' };
/** Of a sign-in window: there was nothing to answer. */
const NO_LOGIN = { icon: 'clock', text: 'window_expired_title', kind: '' } as const;

export function HistoryScreen({ deviceId }: { deviceId: string }): JSX.Element {
  const [logins, setLogins] = useState<PastLogin[] | 'loading' | 'failed'>('loading');
  const holder = holderOf(deviceId);
  useEffect(() => {
    if (holder === undefined) return go('/', 'replace');
    call(holder, 'GET', 'history').then(
      (answer) => setLogins(readHistory(answer)),
      () => setLogins('failed'),
    );
  }, []);
  return (
    <Screen title={t('history')} backTo={`/accounts/${deviceId}`}>
      <div class="status" role="status">
        {logins === 'loading' && <p class="hint">{t('loading')}</p>}
        {logins === 'failed' && <p class="hint">{t('history_failed')}</p>}
        {Array.isArray(logins) && logins.length === 0 && <p class="hint">{t('history_empty')}</p>}
      </div>
      {Array.isArray(logins) && logins.length > 0 && <List logins={logins} />}
    </Screen>
  );
}

function List({ logins }: { logins: PastLogin[] }): JSX.Element {
  return (
    <ul class="cards history">
      {logins.map((login, index) => {
        const window = login.factor === 'window';
        const verdict = window && login.verdict === 'expired' ? NO_LOGIN : VERDICTS[login.verdict];
        const unasked = UNASKED[login.factor];
        return (
          <li class="card" key={index}>
            <span class={`verdict ${unasked === undefined ? (verdict?.kind ?? '') : ''}`}>
              <Icon name={unasked === undefined ? (verdict?.icon ?? 'info') : 'info'} />
            </span>
            <div>
              <strong>
                <bdi>{visible(login.application)}</bdi>
              </strong>
              {unasked === undefined && <small>{verdict === undefined ? visible(login.verdict) : t(verdict.text)}</small>}
              {unasked !== undefined && <small>{t(unasked)}</small>}
              {window && <small>{t('factor_window')}</small>}
              {login.place !== null && (
                <small>
                  <bdi>{visible(login.place)}</bdi>
                </small>
              )}
            </div>
            <time dateTime={new Date(login.at).toISOString()}>{dateAndTime(login.at)}</time>
          </li>
        );
      })}
    </ul>
  );
}
