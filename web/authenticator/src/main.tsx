import { render } from 'preact';
import { start } from './app/start';
import { loadLanguage } from './i18n';
import { App } from './ui/app';
import { NotSecure } from './ui/not-secure';
import './ui/style.css';

const root = document.getElementById('app');
if (root !== null) {
  const secure = globalThis.isSecureContext && globalThis.crypto?.subtle !== undefined;
  // Whatever goes wrong at the start, a screen says more than none.
  const ready = (secure ? start() : loadLanguage()).catch(() => undefined);
  void ready.then(() => render(secure ? <App /> : <NotSecure />, root));
}
