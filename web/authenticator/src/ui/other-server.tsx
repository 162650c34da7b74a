import type { JSX } from 'preact';
import { t } from '../i18n';
import { Icon } from './icons';
import { Screen } from './parts';

/** An app holds accounts of its own server only; another server has an app of its own. */
export function OtherServer({ origin, href }: { origin: string; href: string }): JSX.Element {
  return (
    <Screen title={t('other_server_title')} backTo="/add">
      <p class="lead">{t('other_server_text')}</p>
      <p class="address">
        <Icon name="globe" /> <bdi dir="ltr">{origin}</bdi>
      </p>
      <a class="button main" href={href} rel="noreferrer">
        {t('other_server_open')}
      </a>
    </Screen>
  );
}
