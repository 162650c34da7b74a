import type { JSX } from 'preact';
import { isAppleTab, storage } from '../app/environment';
import { route } from '../app/route';
import { language } from '../i18n';
import { useWatched } from '../store/state';
import { AccountScreen } from './account';
import { AccountsScreen } from './accounts';
import { ActivateScreen } from './activate';
import { AddScreen, HomeScreenAdvice, NoStorage } from './add';
import { HistoryScreen } from './history';
import { ManualScreen } from './manual';
import { Announcer } from './parts';
import { RequestScreen } from './request';
import { ScanScreen } from './scan';
import { WindowScreen } from './window';

export function App(): JSX.Element {
  useWatched(language);
  return (
    <>
      <CurrentScreen />
      <Announcer />
    </>
  );
}

function CurrentScreen(): JSX.Element {
  const now = useWatched(route);
  const store = useWatched(storage);
  const adding = now.name === 'add' || now.name === 'scan' || now.name === 'manual' || now.name === 'activate';
  // Where a key would be lost, none is made.
  if (adding && isAppleTab()) return <HomeScreenAdvice />;
  if (adding && (store === 'private' || store === 'none')) return <NoStorage />;
  switch (now.name) {
    case 'accounts':
      return <AccountsScreen />;
    case 'add':
      return <AddScreen />;
    case 'scan':
      return <ScanScreen />;
    case 'manual':
      return <ManualScreen />;
    case 'activate':
      return <ActivateScreen />;
    case 'account':
      return <AccountScreen key={now.deviceId} deviceId={now.deviceId} />;
    case 'history':
      return <HistoryScreen key={now.deviceId} deviceId={now.deviceId} />;
    case 'request':
      return <RequestScreen key={now.id} id={now.id} />;
    case 'window':
      return <WindowScreen key={now.id} id={now.id} />;
  }
}
