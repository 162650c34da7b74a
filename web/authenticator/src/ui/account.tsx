import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Holder, forget, holderOf, holders, update } from '../app/accounts';
import { endPush } from '../app/push';
import { back, go } from '../app/route';
import { call, distrusted } from '../app/server';
import { dateAndTime, t, visible } from '../i18n';
import { RefusedError } from '../protocol/client';
import { useWatched } from '../store/state';
import { Code, troubleOf } from './code';
import { Confirm } from './confirm';
import { Icon } from './icons';
import { Go, Notice, Screen, announce } from './parts';
import { WindowButtons } from './window';

export function AccountScreen({ deviceId }: { deviceId: string }): JSX.Element {
  useWatched(holders);
  const without = useWatched(distrusted);
  const holder = holderOf(deviceId);
  useEffect(() => {
    if (holder === undefined) go('/', 'replace');
  }, [holder]);
  if (holder === undefined) return <></>;
  const { account } = holder;
  const trouble = troubleOf(holder, without);
  return (
    <Screen title={visible(account.displayName)} backTo="/">
      {trouble !== null && (
        <Notice icon="alert" kind="warning" title={t(trouble.title)}>
          <p>{t(trouble.text)}</p>
        </Notice>
      )}
      <Code holder={holder} large />
      {trouble === null && <WindowButtons holder={holder} />}
      <dl class="facts">
        <dt>{t('organization')}</dt>
        <dd>
          <bdi>{visible(account.organization)}</bdi>
        </dd>
        <dt>{t('user')}</dt>
        <dd>
          <bdi>{visible(account.user)}</bdi>
        </dd>
        <dt>{t('server')}</dt>
        <dd>
          <bdi dir="ltr">{account.origin}</bdi>
        </dd>
        <dt>{t('added')}</dt>
        <dd>{dateAndTime(account.addedAt)}</dd>
      </dl>
      {holder.keys !== null && account.refused === null && (
        <>
          <Rename holder={holder} />
          <Confirm holder={holder} />
          <Go to={`/accounts/${deviceId}/history`} class="choice">
            <Icon name="clock" />
            <span>
              <strong>{t('history')}</strong>
            </span>
            <Icon name="next" turns />
          </Go>
        </>
      )}
      <Remove holder={holder} />
    </Screen>
  );
}

function Rename({ holder }: { holder: Holder }): JSX.Element {
  const { account } = holder;
  const [name, setName] = useState(account.deviceName);
  const [failed, setFailed] = useState(false);
  const save = async (event: Event) => {
    event.preventDefault();
    try {
      await call(holder, 'PATCH', 'device', JSON.stringify({ name: name.trim() }));
      await update(account.deviceId, { deviceName: name.trim() });
      setFailed(false);
      announce(t('saved'));
    } catch {
      setFailed(true);
    }
  };
  const changed = name.trim() !== '' && name.trim() !== account.deviceName;
  return (
    <form class="form" onSubmit={(event) => void save(event)}>
      <label>
        {t('device_name')}
        <span class="beside">
          <input value={name} maxLength={64} autoComplete="off" onInput={(event) => setName(event.currentTarget.value)} />
          <button class="button" disabled={!changed}>
            {t('save')}
          </button>
        </span>
      </label>
      <p class="problem" role="alert" hidden={!failed}>
        {failed && t('not_saved')}
      </p>
    </form>
  );
}

/** Tells the server first. Where that fails, the person may forget the account here all the same. */
function Remove({ holder }: { holder: Holder }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [stage, setStage] = useState<'asking' | 'busy' | 'failed'>('asking');
  const { account } = holder;

  const here = async () => {
    await forget(account.deviceId);
    if (holders.value.length === 0) await endPush().catch(() => undefined);
    announce(t('account_removed'));
    back('/');
  };
  const remove = async () => {
    setStage('busy');
    try {
      if (holder.keys !== null && account.refused === null) await call(holder, 'DELETE', 'device');
    } catch (error) {
      const gone = error instanceof RefusedError && (error.code === 'device_unknown' || error.code === 'device_removed');
      if (!gone) return setStage('failed');
    }
    await here();
  };

  return (
    <>
      <button type="button" class="button danger" onClick={() => dialog.current?.showModal()}>
        {t('remove_account')}
      </button>
      <dialog ref={dialog} aria-labelledby="remove-title" aria-describedby="remove-text" onClose={() => setStage('asking')}>
        <h2 id="remove-title">{t('remove_title', { name: visible(account.displayName) })}</h2>
        <p id="remove-text">{t('remove_text')}</p>
        <p class="problem" role="alert" hidden={stage !== 'failed'}>
          {stage === 'failed' && t('remove_failed')}
        </p>
        <div class="actions">
          <button type="button" class="button" onClick={() => dialog.current?.close()}>
            {t('cancel')}
          </button>
          <button type="button" class="button danger" disabled={stage === 'busy'} onClick={() => void (stage === 'failed' ? here() : remove())}>
            {t(stage === 'failed' ? 'remove_here' : 'remove')}
          </button>
        </div>
      </dialog>
    </>
  );
}
