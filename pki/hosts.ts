/** The names and addresses that a server's certificate is to hold for: all by which this machine is known to be reached. */
import { hostname, networkInterfaces } from 'node:os';

/** @param host as it is listened on; all addresses of the machine when it stands for any. @param names further ones */
export function hostsOf(host: string, names: readonly string[]): string[] {
  const isAny = host === '0.0.0.0' || host === '::';
  const own = isAny
    ? Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .map(({ address }) => address)
    : [host];
  // Link-local addresses carry a zone, which no certificate can.
  const plain = own.filter((address) => !address.startsWith('fe80:'));
  return [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...plain, ...names])];
}
