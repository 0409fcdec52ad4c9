/**
 * Which scheduler, and with which token. The address: `--address`, MORCH_ADDRESS, the current context, the default, in
 * that order. The token: `--token-file`, MORCH_TOKEN, then what is found: that of a context with this address, and on this
 * machine those of the data directories that schedulers have by default. A token of a context goes to no other address.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isLoopbackHost } from '../access/loopback';
import { MorchError } from '../contract/errors';
import { type Contexts, contextFile, loadContexts } from './contextFile';
import { defaultDataDir } from './dataDir';

export const DEFAULT_ADDRESS = 'http://127.0.0.1:5000';

export interface Address {
  /** Without a slash at its end. */
  url: string;
  /** Where it was found, for messages: `--address`, `MORCH_ADDRESS`, `context NAME`, `default`. */
  source: string;
}

export interface Credential {
  token: string;
  /** Where it was found, for messages. */
  source: string;
}

export interface Target {
  address: Address;
  /** In the order in which they are tried; none: there is no token. */
  credentials: readonly Credential[];
}

export interface TargetFlags {
  address?: string | undefined;
  tokenFile?: string | undefined;
}

/** @throws MorchError INVALID_INPUT for an address that is no http URL, or a file that cannot be used */
export function chooseTarget(flags: TargetFlags, env: NodeJS.ProcessEnv = process.env): Target {
  const file = contextFile(env);
  // What was said is enough: a context file that is broken is no reason to refuse it.
  const isAllSaid = said(flags.address, env.MORCH_ADDRESS) && said(flags.tokenFile, env.MORCH_TOKEN);
  const contexts = isAllSaid ? { current: undefined, contexts: {} } : loadContexts(file);
  const address = chooseAddress(flags.address, env.MORCH_ADDRESS, contexts);
  return { address, credentials: chooseCredentials(flags.tokenFile, address, contexts, env) };
}

const said = (flag: string | undefined, variable: string | undefined) =>
  flag !== undefined || (variable !== undefined && variable !== '');

function chooseAddress(
  flag: string | undefined,
  variable: string | undefined,
  { current, contexts }: Contexts,
): Address {
  if (flag !== undefined) return { url: parseAddress(flag, '--address'), source: '--address' };
  if (variable !== undefined && variable !== '') {
    return { url: parseAddress(variable, 'MORCH_ADDRESS'), source: 'MORCH_ADDRESS' };
  }
  const source = `context ${current}`;
  if (current !== undefined) return { url: parseAddress(contexts[current]!.address, source), source };
  return { url: DEFAULT_ADDRESS, source: 'default' };
}

function chooseCredentials(
  tokenFile: string | undefined,
  address: Address,
  { current, contexts }: Contexts,
  env: NodeJS.ProcessEnv,
): Credential[] {
  if (tokenFile !== undefined) return [{ token: readToken(tokenFile, '--token-file'), source: tokenFile }];
  const { MORCH_TOKEN: variable } = env;
  if (variable !== undefined && variable !== '') return [{ token: variable.trim(), source: 'MORCH_TOKEN' }];
  const found: Credential[] = [];
  const names = Object.keys(contexts).sort((a, b) => Number(b === current) - Number(a === current));
  for (const name of names) {
    const { address: its, tokenFile: file, token } = contexts[name]!;
    if (parseAddress(its, `context ${name}`) !== address.url) continue;
    const source = `context ${name}`;
    if (token !== undefined) found.push({ token, source });
    else if (file !== undefined) found.push(...tokenIn(file, `${file}, of ${source}`));
  }
  if (isOnLoopback(address)) {
    const dirs = [defaultDataDir('scheduler', env), path.join(defaultDataDir('dev', env), 'scheduler')];
    for (const dir of dirs) {
      const file = path.join(dir, 'admin.token');
      found.push(...tokenIn(file, file));
    }
  }
  return found.filter(({ token }, at) => found.findIndex((other) => other.token === token) === at);
}

/** None where it cannot be read: somebody else's, or gone with a data directory. */
function tokenIn(file: string, source: string): Credential[] {
  try {
    return [{ token: readFileSync(file, 'utf8').trim(), source }];
  } catch {
    return [];
  }
}

/** @throws MorchError INVALID_INPUT */
function readToken(file: string, flag: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `${flag}: ${(cause as Error).message}`, { cause });
  }
  if (/^\S+$/.test(token)) return token;
  throw new MorchError('INVALID_INPUT', `${flag} ${file} does not hold one token.`);
}

/** Takes `host:port` too. */
export function parseAddress(text: string, source: string): string {
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

export function isOnLoopback(address: Address): boolean {
  return isLoopbackHost(new URL(address.url).hostname);
}
