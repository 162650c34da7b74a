import type { JSX } from 'preact';
import { t } from '../i18n';
import { Notice, Screen } from './parts';

/** Over plain HTTP, or with a certificate that was waved through in some browsers, there are no keys to be had. */
export function NotSecure(): JSX.Element {
  return (
    <Screen title={t('app_name')}>
      <Notice icon="alert" kind="warning" title={t('not_secure_title')}>
        <p>{t('not_secure_text')}</p>
      </Notice>
    </Screen>
  );
}
