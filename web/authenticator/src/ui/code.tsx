import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Holder } from '../app/accounts';
import { clock } from '../app/clock';
import { type Key, t } from '../i18n';
import { totpCode, totpLeft, totpStep } from '../protocol/totp';
import { Icon, Ring } from './icons';
import { announce, useNow } from './parts';

/** The code of now, in two groups, with what is left of its time. A tap copies it. */
export function Code({ holder, large = false }: { holder: Holder; large?: boolean }): JSX.Element | null {
  const { account, keys } = holder;
  const now = useNow(clock.now, 1_000);
  const step = account.totp === null ? 0 : totpStep(account.totp, now);
  const [code, setCode] = useState('');
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    let wanted = true;
    if (keys?.totp && account.totp) void totpCode(keys.totp, account.totp, step).then((text) => wanted && setCode(text));
    return () => void (wanted = false);
  }, [keys, account.totp, step]);
  if (account.totp === null || keys === null || keys.totp === null || account.refused !== null) return null;

  const copy = async () => {
    await navigator.clipboard.writeText(code);
    setCopied(true);
    announce(t('copied'));
    setTimeout(() => setCopied(false), 1_500);
  };
  const left = totpLeft(account.totp, now);
  const half = Math.ceil(code.length / 2);
  return (
    <button type="button" class={large ? 'code large' : 'code'} onClick={() => void copy().catch(() => undefined)}>
      <span class="unseen">{t('copy_code')}</span>
      <bdi dir="ltr" class="digits">
        <span>{code.slice(0, half)}</span> <span>{code.slice(half)}</span>
      </bdi>
      {copied ? <Icon name="check" /> : <Ring left={left / (account.totp.period * 1_000)} label={String(Math.ceil(left / 1_000))} />}
    </button>
  );
}

/** Why an account does not work, if so. */
export function troubleOf({ account, keys }: Holder, distrusted: ReadonlySet<string>): { title: Key; text: Key } | null {
  if (keys === null) return { title: 'key_lost_title', text: 'key_lost_text' };
  if (account.refused === 'account_disabled') return { title: 'disabled_title', text: 'disabled_text' };
  if (account.refused === 'device_removed') return { title: 'removed_title', text: 'removed_text' };
  if (account.refused === 'device_unknown') return { title: 'unknown_title', text: 'unknown_text' };
  if (distrusted.has(account.deviceId)) return { title: 'distrusted_title', text: 'distrusted_text' };
  return null;
}
