import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { go } from '../app/route';
import { info } from '../app/server';
import { offered } from '../app/start';
import { t, visible } from '../i18n';
import { useWatched } from '../store/state';
import { ActivationForm } from './activation-form';
import { Icon } from './icons';
import { OtherServer } from './other-server';
import { Go, Notice, Screen } from './parts';

/** What the camera saw, or the link that opened the app: nothing happens before the person says so. */
export function ActivateScreen(): JSX.Element {
  const reading = useWatched(offered);
  const server = useWatched(info);
  useEffect(() => {
    if (reading === null) go('/add', 'replace');
  }, [reading]);
  if (reading === null) return <></>;
  if (reading.kind !== 'link') {
    const newer = reading.kind === 'newer';
    return (
      <Screen title={t('add_account')} backTo="/add">
        <Notice
          icon="alert"
          kind="warning"
          title={t(newer ? 'newer_code_title' : 'foreign_code_title')}
          actions={
            <Go to="/add" class="button main">
              {t('add_account')}
            </Go>
          }
        >
          <p>{t(newer ? 'newer_code_text' : 'foreign_code_text')}</p>
        </Notice>
      </Screen>
    );
  }
  const { link } = reading;
  if (link.origin !== location.origin) {
    return <OtherServer origin={link.origin} href={`${link.origin}/activate#v=1&t=${link.token}&k=${link.key}`} />;
  }
  return (
    <Screen title={t('add_account')} backTo="/add">
      <div class="found">
        <Icon name="check" />
        <p>
          <strong>{server === null ? t('code_found') : <bdi>{visible(server.organization)}</bdi>}</strong>
          <bdi dir="ltr">{link.origin}</bdi>
        </p>
      </div>
      <ActivationForm secret={() => ({ link })}>{null}</ActivationForm>
    </Screen>
  );
}
