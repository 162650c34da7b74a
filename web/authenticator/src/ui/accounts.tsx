import type { JSX } from 'preact';
import { holders } from '../app/accounts';
import { waiting, signIns } from '../app/requests';
import { distrusted } from '../app/server';
import { LANGUAGES, chooseLanguage, language, t, visible } from '../i18n';
import { useWatched } from '../store/state';
import { Code, troubleOf } from './code';
import { Icon } from './icons';
import { InstallAdvice, Notices } from './notices';
import { Go, Screen } from './parts';

export function AccountsScreen(): JSX.Element {
  const all = useWatched(holders);
  return (
    <Screen
      title={t('accounts_title')}
      kind="accounts"
      action={
        <Go to="/add" class="round strong" aria-label={t('add_account')}>
          <Icon name="plus" />
        </Go>
      }
    >
      <WaitingLink />
      <Notices />
      {all.length === 0 ? <Empty /> : <List />}
      <InstallAdvice />
      <LanguageChoice />
    </Screen>
  );
}

function List(): JSX.Element {
  const all = useWatched(holders);
  const without = useWatched(distrusted);
  return (
    <ul class="cards">
      {all.map((holder) => {
        const { account } = holder;
        const trouble = troubleOf(holder, without);
        return (
          <li class="card" key={account.deviceId}>
            <Go to={`/accounts/${account.deviceId}`} class="account-link">
              <span>
                <strong>
                  <bdi>{visible(account.displayName)}</bdi>
                </strong>
                <small>
                  <bdi>{visible(account.organization)}</bdi>
                </small>
              </span>
              <Icon name="next" turns />
            </Go>
            {trouble === null ? <Code holder={holder} /> : <p class="trouble">{t(trouble.title)}</p>}
          </li>
        );
      })}
    </ul>
  );
}

function Empty(): JSX.Element {
  return (
    <section class="empty">
      <img src="/icons/icon.svg" alt="" width="96" height="96" />
      <h2>{t('empty_title')}</h2>
      <p>{t('empty_text')}</p>
      <Go to="/add" class="button main">
        {t('add_account')}
      </Go>
    </section>
  );
}

/** A sign-in that somebody turned away from. */
function WaitingLink(): JSX.Element | null {
  useWatched(signIns);
  const next = waiting()[0];
  if (next === undefined) return null;
  return (
    <Go to={`/requests/${next.challenge.id}`} class="button main waiting">
      {t('show_waiting', { n: waiting().length })}
    </Go>
  );
}

function LanguageChoice(): JSX.Element {
  const { tag } = useWatched(language);
  return (
    <footer>
      <label class="language">
        <Icon name="globe" />
        <span class="unseen">{t('language')}</span>
        <select value={tag} onChange={(event) => void chooseLanguage(event.currentTarget.value)}>
          {Object.entries(LANGUAGES).map(([code, name]) => (
            <option key={code} value={code} lang={code}>
              {name}
            </option>
          ))}
        </select>
      </label>
    </footer>
  );
}
