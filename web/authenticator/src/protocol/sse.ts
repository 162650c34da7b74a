// Server-sent events, read from a fetch: HTML Standard, section 9.2.6. Ids and retry times are not used here.

export interface ServerEvent {
  name: string;
  data: string;
}

/** Cuts a stream of text into events. */
export class EventParser {
  #rest = '';
  #name = '';
  #data: string[] = [];

  /** The events that this piece of text ends. */
  push(piece: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const lines = (this.#rest + piece).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = this.#line(line);
      if (event !== null) events.push(event);
    }
    return events;
  }

  #line(line: string): ServerEvent | null {
    if (line === '') {
      const event = this.#data.length > 0 ? { name: this.#name || 'message', data: this.#data.join('\n') } : null;
      this.#name = '';
      this.#data = [];
      return event;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#name = value;
    if (field === 'data') this.#data.push(value);
    return null;
  }
}

/** Reads a stream to its end. `heard` is called for every piece, comments included. */
export async function readEvents(
  stream: ReadableStream<Uint8Array>,
  heard: () => void,
  on: (event: ServerEvent) => void,
): Promise<void> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    for (const event of parser.push(decoder.decode(value, { stream: true }))) on(event);
  }
}
