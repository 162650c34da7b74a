// A value that screens watch.

import { useEffect, useState } from 'preact/hooks';

export class Watched<T> {
  #value: T;
  readonly #watchers = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher();
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

export function useWatched<T>(watched: Watched<T>): T {
  const [, redraw] = useState({});
  useEffect(() => {
    redraw({});
    return watched.watch(() => redraw({}));
  }, [watched]);
  return watched.value;
}
