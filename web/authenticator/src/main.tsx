import { render } from 'preact';
import { start } from './app/start';
import { App } from './ui/app';
import { NotSecure } from './ui/not-secure';
import './ui/style.css';

const root = document.getElementById('app');
if (root !== null) {
  if (globalThis.isSecureContext && globalThis.crypto?.subtle !== undefined) void start().then(() => render(<App />, root));
  else render(<NotSecure />, root);
}
