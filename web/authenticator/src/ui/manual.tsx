import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { normalizeCode } from '../protocol/activation';
import { originTyped } from '../protocol/origin';
import type { Secret } from '../app/activate';
import { t } from '../i18n';
import { ActivationForm } from './activation-form';
import { OtherServer } from './other-server';
import { Screen } from './parts';

export function ManualScreen(): JSX.Element {
  const [code, setCode] = useState('');
  const [address, setAddress] = useState(location.origin);
  const [wrong, setWrong] = useState<{ code?: string; address?: string }>({});
  const [elsewhere, setElsewhere] = useState<string | null>(null);
  const codeBox = useRef<HTMLInputElement>(null);
  const addressBox = useRef<HTMLInputElement>(null);

  const secret = (): Secret | null => {
    const normal = normalizeCode(code);
    const origin = originTyped(address);
    setWrong({
      ...(normal === null ? { code: t('code_wrong') } : {}),
      ...(origin === null ? { address: t('address_wrong') } : {}),
    });
    if (normal === null) codeBox.current?.focus();
    else if (origin === null) addressBox.current?.focus();
    if (normal === null || origin === null) return null;
    if (origin !== location.origin) {
      setElsewhere(origin);
      return null;
    }
    return { code: normal };
  };

  /** In groups of four, as the code was handed out. */
  const tidy = () => {
    const normal = normalizeCode(code);
    if (normal !== null) setCode(normal.replaceAll(/(.{4})(?=.)/g, '$1-'));
  };

  if (elsewhere !== null) return <OtherServer origin={elsewhere} href={elsewhere} />;
  return (
    <Screen title={t('enter_manually')} backTo="/add">
      <ActivationForm secret={secret}>
        <label>
          {t('code')}
          <input
            ref={codeBox}
            class="code-input"
            dir="ltr"
            value={code}
            placeholder="ABCD-EFGH-JKMN"
            autoCapitalize="characters"
            autoComplete="off"
            spellcheck={false}
            maxLength={40}
            aria-invalid={wrong.code !== undefined}
            aria-describedby="code-wrong"
            onInput={(event) => setCode(event.currentTarget.value)}
            onBlur={tidy}
          />
          <small id="code-wrong" class="wrong">
            {wrong.code}
          </small>
        </label>
        <label>
          {t('address')}
          <input
            ref={addressBox}
            dir="ltr"
            type="url"
            inputMode="url"
            value={address}
            autoCapitalize="none"
            autoComplete="off"
            spellcheck={false}
            maxLength={300}
            aria-invalid={wrong.address !== undefined}
            aria-describedby="address-wrong"
            onInput={(event) => setAddress(event.currentTarget.value)}
          />
          <small id="address-wrong" class="wrong">
            {wrong.address}
          </small>
        </label>
      </ActivationForm>
    </Screen>
  );
}
