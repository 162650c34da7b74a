// What the windows of this browser tell each other.

import type { ClosingState, WindowEnd, WireChallenge } from '../protocol/messages';

export type Message =
  | { type: 'accounts changed' }
  | { type: 'challenge'; deviceId: string; wire: WireChallenge }
  | { type: 'closed'; id: string; state: ClosingState }
  | { type: 'window closed'; id: string; state: WindowEnd };

const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('countersign') : null;

export function tell(message: Message): void {
  channel?.postMessage(message);
}

export function hear(on: (message: Message) => void): void {
  channel?.addEventListener('message', (event: MessageEvent<Message>) => on(event.data));
}
