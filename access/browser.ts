/**
 * What keeps web pages out that a user of this machine happens to look at: a page reaches every port that its browser does.
 * A name that an attacker's DNS points here is refused by its Host, a request of another site by its Origin and
 * Sec-Fetch-Site; nothing sends CORS headers. https://fetch.spec.whatwg.org, https://www.w3.org/TR/fetch-metadata/
 * So that it holds, what could be read in two ways is refused first: whatever stands in between may have read it in the other.
 */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { MorchError } from '../contract/errors';

/** On every answer: there are no pages here, so nothing may be run, framed or guessed from one. */
export const SECURITY_HEADERS = {
  'Content-Security-Policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Frame-Options': 'DENY',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
} as const;

/** Node takes the first one, others the last. */
const SINGLE = ['host', 'authorization'];

/**
 * @param allowedHosts names beside localhost; addresses are always served, as no DNS answer makes one of them
 * @returns INVALID_INPUT, WRONG_HOST or CROSS_SITE, or null
 */
export function refusalOfBrowser(
  request: Pick<IncomingMessage, 'headers' | 'rawHeaders' | 'url'>,
  allowedHosts: ReadonlySet<string>,
): MorchError | null {
  const { headers } = request;
  const { host = '', origin } = headers;
  const doubt = findDoubt(request, host);
  if (doubt !== null) return new MorchError('INVALID_INPUT', doubt);
  const name = hostNameOf(host);
  if (name === null || !isServed(name, allowedHosts)) {
    const detail = `The Host "${host.slice(0, 200)}" is not one that is served here. If it is meant to be, name it with --allowed-host.`;
    return new MorchError('WRONG_HOST', detail);
  }
  const site = headers['sec-fetch-site'];
  const isForeign = site !== undefined && site !== 'same-origin' && site !== 'none';
  if (isForeign || (origin !== undefined && !isUrlOf(origin, host))) {
    return new MorchError('CROSS_SITE', 'The request comes from a page of another site; nothing was done.');
  }
  return null;
}

/** @returns what could be meant in two ways, in words */
function findDoubt(
  { rawHeaders, url = '/' }: Pick<IncomingMessage, 'rawHeaders' | 'url'>,
  host: string,
): string | null {
  const twice = SINGLE.find((name) => isGivenTwice(name, rawHeaders));
  if (twice !== undefined) return `There is more than one header ${twice}.`;
  // https://www.rfc-editor.org/rfc/rfc9112#section-3.2
  if (url.startsWith('/') || url === '*' || isUrlOf(url, host)) return null;
  return 'The request target is no path, and not of the host that the header Host names.';
}

function isGivenTwice(name: string, rawHeaders: readonly string[]): boolean {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const given = rawHeaders[at]!;
    if (given.length === name.length && given.toLowerCase() === name) count += 1;
  }
  return count > 1;
}

/** @returns the name or address without port and brackets, in lower case; null when it is none */
function hostNameOf(host: string): string | null {
  const [, v6, name] = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+?)\.?)(?::\d{1,5})?$/.exec(host) ?? [];
  return (v6 ?? name ?? null)?.toLowerCase() ?? null;
}

function isServed(name: string, allowedHosts: ReadonlySet<string>): boolean {
  return name === 'localhost' || isIP(name) !== 0 || allowedHosts.has(name);
}

/** An origin, or more. `null`, which sandboxed pages and files send, is nobody's. */
function isUrlOf(url: string, host: string): boolean {
  const own = URL.canParse(url) ? new URL(url) : null;
  return own !== null && /^https?:$/.test(own.protocol) && own.host === normalHost(host, own.protocol);
}

/** As a URL has it: without the default port of its scheme. */
function normalHost(host: string, protocol: string): string {
  const url = `${protocol}//${host}`;
  return URL.canParse(url) ? new URL(url).host : host;
}
