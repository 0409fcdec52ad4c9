/**
 * Where the scheduler is: `--address`, MORCH_ADDRESS, the context file, the default, in that order.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { MorchError } from '../contract/errors';

export const DEFAULT_ADDRESS = 'http://127.0.0.1:5000';

export interface Address {
  /** Without a slash at its end. */
  url: string;
  /** Where it was found, for messages: `--address`, `MORCH_ADDRESS`, the file's path, `default`. */
  source: string;
}

/** @throws MorchError INVALID_INPUT for an address that is no http URL, or a context file that cannot be used */
export function chooseAddress(flag: string | undefined, env: NodeJS.ProcessEnv = process.env): Address {
  if (flag !== undefined) return { url: parseAddress(flag, '--address'), source: '--address' };
  const fromEnv = env.MORCH_ADDRESS;
  if (fromEnv !== undefined && fromEnv !== '') {
    return { url: parseAddress(fromEnv, 'MORCH_ADDRESS'), source: 'MORCH_ADDRESS' };
  }
  const file = contextFile(env);
  const fromFile = loadAddress(file);
  if (fromFile !== undefined) return { url: parseAddress(fromFile, file), source: file };
  return { url: DEFAULT_ADDRESS, source: 'default' };
}

export function contextFile(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CONFIG_HOME;
  // The XDG specification: a relative path in the variable is to be ignored.
  const folder = base !== undefined && path.isAbsolute(base) ? base : path.join(env.HOME ?? homedir(), '.config');
  return path.join(folder, 'morch', 'config.yaml');
}

function loadAddress(file: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new MorchError('INVALID_INPUT', `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    throw new MorchError('INVALID_INPUT', `${file} is not valid YAML: ${(error as Error).message}`, { cause: error });
  }
  if (content === null || content === undefined) return undefined;
  const address = (content as { address?: unknown }).address;
  if (typeof content !== 'object' || (address !== undefined && typeof address !== 'string')) {
    throw new MorchError('INVALID_INPUT', `${file} must hold a line such as "address: ${DEFAULT_ADDRESS}"`);
  }
  return address;
}

/** Takes `host:port` too. */
function parseAddress(text: string, source: string): string {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new MorchError(
      'INVALID_INPUT',
      `"${text}" (from ${source}) is not the address of a scheduler, such as ${DEFAULT_ADDRESS}`,
    );
  }
  return url.href.replace(/\/+$/, '');
}

/** True for an address or host name that never leaves this machine. */
export function isLoopbackHost(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase();
  if (bare === 'localhost' || bare === '::1' || bare === '::ffff:127.0.0.1') return true;
  return isIP(bare) === 4 && bare.startsWith('127.');
}

export function isOnLoopback(address: Address): boolean {
  return isLoopbackHost(new URL(address.url).hostname);
}
