import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Holder } from '../app/accounts';
import { type SetupProblem, available, setUp, takeAway } from '../app/verification';
import { type Key, t } from '../i18n';
import { useWatched } from '../store/state';
import { announce } from './parts';

const PROBLEMS: Record<SetupProblem, Key> = {
  cancelled: 'confirm_cancelled',
  unsupported: 'confirm_unsupported',
  failed: 'confirm_failed',
};

/** In the account: whether sign-ins can be confirmed by fingerprint, face or PIN. */
export function Confirm({ holder }: { holder: Holder }): JSX.Element {
  const can = useWatched(available);
  const isSetUp = (holder.account.credentialId ?? null) !== null;
  return (
    <section class="confirm">
      <h2>{t('confirm')}</h2>
      <p>{t(isSetUp ? 'confirm_is_on' : can ? 'confirm_text' : 'confirm_unavailable')}</p>
      {isSetUp ? <TakeAway holder={holder} /> : can && <SetUp holder={holder} />}
    </section>
  );
}

export function SetUp({ holder }: { holder: Holder }): JSX.Element {
  const begin = async () => {
    const problem = await setUp(holder);
    if (problem === null) announce(t('confirm_is_on'));
    return problem && PROBLEMS[problem];
  };
  return <Attempt text="confirm_set_up" attempt={begin} />;
}

function TakeAway({ holder }: { holder: Holder }): JSX.Element {
  const end = async () => {
    try {
      await takeAway(holder);
      return null;
    } catch {
      return 'not_saved';
    }
  };
  return <Attempt text="confirm_take_away" attempt={end} />;
}

/** A button for something that may fail, and beneath it why it did. */
function Attempt({ text, attempt }: { text: Key; attempt: () => Promise<Key | null> }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Key | null>(null);
  const go = async () => {
    setBusy(true);
    setProblem(await attempt());
    setBusy(false);
  };
  return (
    <>
      <button type="button" class="button" disabled={busy} onClick={() => void go()}>
        {t(text)}
      </button>
      <p class="problem" role="alert" hidden={problem === null}>
        {problem !== null && t(problem)}
      </p>
    </>
  );
}
