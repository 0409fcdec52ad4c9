/**
 * Which scheduler, and with which token. The address: `--address`, MORCH_ADDRESS, the current context, the default, in
 * that order. The token: `--token-file`, MORCH_TOKEN, then what is found: that of a context with this address, and on this
 * machine those of the data directories that schedulers have by default. A token of a context goes to no other address.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isLoopbackHost } from '../access/loopback';
import { MorchError } from '../contract/errors';
import { type Context, type Contexts, contextFile, loadContexts } from './contextFile';
import { defaultDataDir } from './dataDir';
import { type Authorities, chooseAuthorities } from './trust';

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
  /** By what one that speaks TLS is known; none: by those of the system. */
  authorities?: Authorities | undefined;
}

export interface TargetFlags {
  address?: string | undefined;
  tokenFile?: string | undefined;
  caFile?: string | undefined;
}

/**
 * @throws MorchError INVALID_INPUT for an address that is no http URL, a file that cannot be used, or a token that would be
 *   sent in the clear to another machine
 */
export function chooseTarget(flags: TargetFlags, env: NodeJS.ProcessEnv = process.env): Target {
  const file = contextFile(env);
  // What was said is enough: a context file that is broken is no reason to refuse it.
  const isHttps = /^https:/i.test(flags.address ?? env.MORCH_ADDRESS ?? '');
  const isAllSaid =
    said(flags.address, env.MORCH_ADDRESS) &&
    said(flags.tokenFile, env.MORCH_TOKEN) &&
    (!isHttps || said(flags.caFile, env.MORCH_CACERT));
  const contexts = isAllSaid ? { current: undefined, contexts: {} } : loadContexts(file);
  const address = chooseAddress(flags.address, env.MORCH_ADDRESS, contexts);
  const credentials = chooseCredentials(flags.tokenFile, address, contexts, env);
  if (!address.url.startsWith('https:')) {
    if (credentials[0] !== undefined && !isOnLoopback(address)) throw inTheClear(address, credentials[0]);
    return { address, credentials };
  }
  const [named] = contextsOf(address, contexts).flatMap(({ caFile, source }) =>
    caFile === undefined ? [] : [{ caFile, source: `${source}:` }],
  );
  return { address, credentials, authorities: chooseAuthorities(flags.caFile, named, isOnLoopback(address), env) };
}

function inTheClear({ url, source }: Address, token: Credential): MorchError {
  const detail = `${url} (from ${source}) is plain HTTP, and on another machine: the token from ${token.source} would be sent there in the clear, and was not.
Name the scheduler with https://, and who has signed its certificate with --ca-file or MORCH_CACERT: it speaks TLS on every address that is not a loopback one.`;
  return new MorchError('INVALID_INPUT', detail);
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
  contexts: Contexts,
  env: NodeJS.ProcessEnv,
): Credential[] {
  if (tokenFile !== undefined) return [{ token: readToken(tokenFile, '--token-file'), source: tokenFile }];
  const { MORCH_TOKEN: variable } = env;
  if (variable !== undefined && variable !== '') return [{ token: variable.trim(), source: 'MORCH_TOKEN' }];
  const found: Credential[] = [];
  for (const { tokenFile: file, token, source } of contextsOf(address, contexts)) {
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

/** Those with that address, the current one first. */
function contextsOf(address: Address, { current, contexts }: Contexts): (Context & { source: string })[] {
  return Object.entries(contexts)
    .map(([name, context]) => ({ ...context, name, source: `context ${name}` }))
    .filter(({ address: its, source }) => parseAddress(its, source) === address.url)
    .sort((a, b) => Number(b.name === current) - Number(a.name === current));
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
