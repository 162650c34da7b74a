/**
 * The address of a server in its one form: scheme, host and port. Null when it is no such address, has a path, a query,
 * a fragment or a user name, or is plain HTTP to another machine.
 */
export function originOf(address: string): string | null {
  const text = address.trim();
  // `new URL` takes many spellings that no server hands out; a path or anything behind it is refused here.
  if (!/^https?:\/\/[^/?#\\@\s]+\/?$/i.test(text)) return null;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  if (url.protocol === 'http:' && !['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)) return null;
  return url.origin;
}

/** The same for what a person types: without a scheme, `https://` is meant. */
export function originTyped(address: string): string | null {
  const text = address.trim();
  return originOf(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`);
}
