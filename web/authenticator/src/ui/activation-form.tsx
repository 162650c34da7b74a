import type { ComponentChildren, JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { ActivationError, type Secret, activate } from '../app/activate';
import { deviceNameGuess } from '../app/environment';
import { go } from '../app/route';
import { unfinished } from '../app/start';
import { t, visible } from '../i18n';
import { announce } from './parts';

export function problemText(error: ActivationError): string {
  switch (error.problem) {
    case 'unknown':
      return t('problem_unknown');
    case 'device limit':
      return t('problem_device_limit');
    case 'too many attempts':
      return t('problem_attempts', { n: Math.max(1, Math.ceil(Number(error.detail) / 60)) });
    case 'unreachable':
      return t('problem_unreachable');
    case 'other address':
      return t('problem_other_address', { address: error.detail });
    case 'other server':
      return t('problem_other_server');
    case 'clock':
      return t('problem_clock');
    case 'storage':
      return t('private_text');
    case 'refused':
      return t('problem_refused');
  }
}

/** The name of this device and the button, under what the two ways of activating have of their own. */
export function ActivationForm({ secret, children }: { secret: () => Secret | null; children: ComponentChildren }): JSX.Element {
  const [name, setName] = useState(deviceNameGuess());
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ActivationError | null>(null);
  const problemBox = useRef<HTMLParagraphElement>(null);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const what = secret();
    if (what === null || busy) return;
    setBusy(true);
    setProblem(null);
    try {
      const account = await activate(what, name.trim() || deviceNameGuess());
      unfinished.set(null);
      go('/', 'replace');
      announce(t('account_added', { name: visible(account.displayName) }));
    } catch (error) {
      setProblem(error instanceof ActivationError ? error : new ActivationError('refused'));
      setBusy(false);
      problemBox.current?.focus();
    }
  };

  return (
    <form class="form" noValidate onSubmit={(event) => void submit(event as unknown as SubmitEvent)}>
      {children}
      <label>
        {t('device_name')}
        <input value={name} maxLength={64} autoComplete="off" onInput={(event) => setName(event.currentTarget.value)} />
        <small>{t('device_name_hint')}</small>
      </label>
      <p class="problem" role="alert" tabIndex={-1} ref={problemBox} hidden={problem === null}>
        {problem !== null && problemText(problem)}
      </p>
      <button class="button main" disabled={busy}>
        {t(busy ? 'activating' : 'activate')}
      </button>
    </form>
  );
}
