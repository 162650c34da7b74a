import type { JSX } from 'preact';
import { storage } from '../app/environment';
import { t } from '../i18n';
import { useWatched } from '../store/state';
import { Icon } from './icons';
import { Go, Notice, Screen } from './parts';

export function AddScreen(): JSX.Element {
  return (
    <Screen title={t('add_account')} backTo="/">
      <p class="lead">{t('add_text')}</p>
      <div class="choices">
        <Go to="/add/scan" class="choice">
          <Icon name="camera" />
          <span>
            <strong>{t('scan')}</strong>
            <small>{t('scan_hint')}</small>
          </span>
          <Icon name="next" turns />
        </Go>
        <Go to="/add/manual" class="choice">
          <Icon name="keyboard" />
          <span>
            <strong>{t('enter_manually')}</strong>
            <small>{t('manual_hint')}</small>
          </span>
          <Icon name="next" turns />
        </Go>
      </div>
    </Screen>
  );
}

/** A tab on an iPhone: nothing is made or redeemed here, for the app on the home screen would not see it. */
export function HomeScreenAdvice(): JSX.Element {
  return (
    <Screen title={t('home_title')} backTo="/">
      <p class="lead">{t('home_text')}</p>
      <ol class="steps">
        <li>
          <Icon name="share" /> <span>{t('home_step_share')}</span>
        </li>
        <li>
          <Icon name="plus" /> <span>{t('home_step_add')}</span>
        </li>
        <li>
          <Icon name="camera" /> <span>{t('home_step_scan')}</span>
        </li>
      </ol>
      <p class="hint">{t('home_nothing_used')}</p>
    </Screen>
  );
}

export function NoStorage(): JSX.Element {
  const kind = useWatched(storage);
  return (
    <Screen title={t('add_account')} backTo="/">
      <Notice icon="alert" kind="warning" title={t(kind === 'private' ? 'private_title' : 'no_storage_title')}>
        <p>{t(kind === 'private' ? 'private_text' : 'no_storage_text')}</p>
      </Notice>
    </Screen>
  );
}
