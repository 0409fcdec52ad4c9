/**
 * The context file, `~/.config/morch/config.yaml`: schedulers by a name, each with its address and its token, and which of
 * them is meant when nothing else is said. Comments that somebody wrote into it stay.
 */
import { mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { Document } from 'yaml';
import { z } from 'zod';
import { writePrivateFile } from '../access/privateFile';
import { MorchError } from '../contract/errors';

const contextSchema = z.strictObject({
  address: z.string().min(1),
  /** Relative to the context file, as is caFile. */
  tokenFile: z.string().min(1).optional(),
  token: z.string().min(1).optional(),
  caFile: z.string().min(1).optional(),
});
export type Context = z.infer<typeof contextSchema>;

const contextsSchema = z.strictObject({
  current: z.string().nullish(),
  contexts: z.record(z.string(), contextSchema).nullish(),
});

export interface Contexts {
  current: string | undefined;
  contexts: Readonly<Record<string, Context>>;
}

export function contextFile(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CONFIG_HOME;
  // The XDG specification: a relative path in the variable is to be ignored.
  const folder = base !== undefined && path.isAbsolute(base) ? base : path.join(env.HOME ?? homedir(), '.config');
  return path.join(folder, 'morch', 'config.yaml');
}

/** @returns none when there is no such file; paths in it made absolute. @throws MorchError INVALID_INPUT naming the file */
export function loadContexts(file: string): Contexts {
  const document = readDocument(file);
  const content: unknown = document?.toJS() ?? {};
  const { data, error } = contextsSchema.safeParse(content);
  if (data === undefined) {
    const { path: at, message } = error.issues[0]!;
    throw new MorchError(
      'INVALID_INPUT',
      `${file} is no context file: ${at.join('.') || 'it'}: ${message}. It holds "current: NAME" and "contexts: { NAME: { address, tokenFile } }"; morch context --help tells more.`,
    );
  }
  const absolute = (key: 'tokenFile' | 'caFile', name: string | undefined) =>
    name === undefined ? {} : { [key]: path.resolve(path.dirname(file), name) };
  const contexts = Object.fromEntries(
    Object.entries(data.contexts ?? {}).map(([name, context]) => [
      name,
      { ...context, ...absolute('tokenFile', context.tokenFile), ...absolute('caFile', context.caFile) },
    ]),
  );
  const current = data.current ?? undefined;
  if (current !== undefined && !Object.hasOwn(contexts, current)) {
    throw new MorchError('INVALID_INPUT', `${file} says "current: ${current}", but has no context of that name.`);
  }
  return { current, contexts };
}

/** In place of what it was. @param makeCurrent decides by the name of the one that is; undefined: none is */
export async function saveContext(
  file: string,
  name: string,
  context: Context,
  makeCurrent: (current: string | undefined) => boolean,
): Promise<void> {
  const { current } = loadContexts(file);
  await change(file, (document) => {
    document.setIn(['contexts', name], document.createNode(context));
    if (makeCurrent(current)) document.set('current', name);
  });
}

/** @throws MorchError INVALID_INPUT when there is none of the name */
export async function useContext(file: string, name: string): Promise<void> {
  const { contexts } = loadContexts(file);
  if (!Object.hasOwn(contexts, name)) {
    const names = Object.keys(contexts).join(', ') || 'none';
    throw new MorchError('INVALID_INPUT', `There is no context ${name} in ${file}; there is: ${names}.`);
  }
  await change(file, (document) => document.set('current', name));
}

async function change(file: string, how: (document: Document) => void): Promise<void> {
  const document: Document = readDocument(file) ?? yaml().parseDocument('{}\n');
  if (document.contents === null) document.contents = document.createNode({});
  how(document);
  // Flow style of an empty map would put all of it on one line.
  const root = document.contents as { flow?: boolean } | null;
  if (root !== null) root.flow = false;
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  await writePrivateFile(realPathOf(file), document.toString().trimEnd());
}

/** Of a link, what it leads to: that is what its owner keeps elsewhere. */
function realPathOf(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return file;
  }
}

/** Loaded when there is something to read: most commands, and the parts, find nothing. */
function yaml(): typeof import('yaml') {
  return require('yaml');
}

function readDocument(file: string): Document | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new MorchError('INVALID_INPUT', `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
  const document = yaml().parseDocument(text);
  const [fault] = document.errors;
  if (fault !== undefined)
    throw new MorchError('INVALID_INPUT', `${file} is not valid YAML: ${fault.message}`, { cause: fault });
  return document;
}
