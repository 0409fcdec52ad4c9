/**
 * What keeps web pages out that a user of this machine happens to look at: a page reaches every port that its browser does.
 * A name that an attacker's DNS points here is refused by its Host, a request of another site by its Origin and
 * Sec-Fetch-Site; nothing sends CORS headers. https://fetch.spec.whatwg.org, https://www.w3.org/TR/fetch-metadata/
 */
import type { IncomingHttpHeaders } from 'node:http';
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

/**
 * @param allowedHosts names beside localhost; addresses are always served, as no DNS answer makes one of them
 * @returns WRONG_HOST or CROSS_SITE, or null
 */
export function refusalOfBrowser(headers: IncomingHttpHeaders, allowedHosts: ReadonlySet<string>): MorchError | null {
  const { host = '', origin } = headers;
  const name = hostNameOf(host);
  if (name === null || !isServed(name, allowedHosts)) {
    const detail = `The Host "${host.slice(0, 200)}" is not one that is served here. If it is meant to be, name it with --allowed-host.`;
    return new MorchError('WRONG_HOST', detail);
  }
  const site = headers['sec-fetch-site'];
  const isForeign = site !== undefined && site !== 'same-origin' && site !== 'none';
  if (isForeign || (origin !== undefined && !isOriginOf(origin, host))) {
    return new MorchError('CROSS_SITE', 'The request comes from a page of another site; nothing was done.');
  }
  return null;
}

/** @returns the name or address without port and brackets, in lower case; null when it is none */
function hostNameOf(host: string): string | null {
  const [, v6, name] = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+?)\.?)(?::\d{1,5})?$/.exec(host) ?? [];
  return (v6 ?? name ?? null)?.toLowerCase() ?? null;
}

function isServed(name: string, allowedHosts: ReadonlySet<string>): boolean {
  return name === 'localhost' || isIP(name) !== 0 || allowedHosts.has(name);
}

/** `null`, which sandboxed pages and files send, is nobody's. */
function isOriginOf(origin: string, host: string): boolean {
  const own = URL.canParse(origin) ? new URL(origin) : null;
  return own !== null && /^https?:$/.test(own.protocol) && own.host === normalHost(host, own.protocol);
}

/** As a URL has it: without the default port of its scheme. */
function normalHost(host: string, protocol: string): string {
  const url = `${protocol}//${host}`;
  return URL.canParse(url) ? new URL(url).host : host;
}
