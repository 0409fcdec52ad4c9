/** What of a request goes into the audit log: who, from where, and of its body only what names things, never what may be secret. */
import type { IncomingMessage } from 'node:http';
import type { Caller } from '../access/guard';
import type { Asked } from '../audit/trail';

const LONGEST = 512;

/** Fields of bodies and queries that say what is to be done and to what; all others are left out, among them env, args and values. */
const TOLD = [
  'id',
  'name',
  'kind',
  'script',
  'command',
  'user',
  'replicas',
  'host',
  'port',
  'role',
  'expiresInMs',
  'maxUses',
  'deadlineMs',
  'durationMs',
  'purge',
  'force',
] as const;

/** @param given body and query of a request that has been let in */
export function askedOf(req: IncomingMessage, caller: Caller, ...given: unknown[]): Asked {
  const { method = '', url = '' } = req;
  const what = given.map(toldOf).filter(Boolean).join(' ').slice(0, LONGEST);
  return {
    caller,
    from: req.socket.remoteAddress ?? null,
    method,
    path: url.split('?')[0]!.slice(0, LONGEST),
    what: what === '' ? null : what,
  };
}

function toldOf(given: unknown): string {
  if (typeof given !== 'object' || given === null) return '';
  const fields = given as Record<string, unknown>;
  let all = '';
  for (const name of TOLD) {
    if (!Object.hasOwn(fields, name)) continue;
    const value = fields[name];
    // Of an argument list the program; its arguments may hold anything.
    const told = Array.isArray(value) ? value[0] : value;
    const isPlain = typeof told === 'string' || typeof told === 'number' || typeof told === 'boolean';
    if (isPlain) all += `${all === '' ? '' : ' '}${name}=${told}`;
  }
  return all;
}

/** @returns the id of what was made, where the answer has one */
export function madeBy(body: unknown): string | null {
  const id = (body as { id?: unknown } | null | undefined)?.id;
  return typeof id === 'string' ? `id=${id}` : null;
}
