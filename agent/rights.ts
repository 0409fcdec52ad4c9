/**
 * Whether this process may do what its options ask of it: run programs as other users. Asked once, at the start, so that
 * what is wrong is said there rather than by every start.
 */
import { readFile } from 'node:fs/promises';
import { MorchError } from '../contract/errors';
import type { AgentOptions } from './options';
import type { UidRange } from './ownUsers';

/** capabilities(7): to give files away, look after what it has given away, change user, and end what runs as another. */
const NEEDED = { CHOWN: 0, DAC_OVERRIDE: 1, FOWNER: 3, KILL: 5, SETGID: 6, SETUID: 7, SETPCAP: 8, SYS_PTRACE: 19 };

/**
 * @returns how instances are run that name no user: by default as users of their own where the agent is root
 * @throws MorchError INVALID_INPUT whose message names the flag
 */
export async function settleRunAs(options: AgentOptions): Promise<'own' | 'agent'> {
  const isRoot = process.geteuid?.() === 0;
  const { runAs = isRoot ? 'own' : 'agent', allowUsers, allowRoot, userRange } = options;
  if (!isRoot) {
    const flag = runAs === 'own' ? '--run-as own' : allowRoot ? '--allow-root' : '--allow-user';
    if (runAs === 'own' || allowRoot || allowUsers.length > 0)
      throw refused(`${flag} needs an agent that runs as root: others cannot run programs as other users`);
    return runAs;
  }
  if (runAs === 'agent') return runAs;
  const remedy = 'or run instances as the agent does: --run-as agent';
  const lacking = lackingCapabilities(await readFile('/proc/self/status', 'utf8'));
  if (lacking.length > 0)
    throw refused(
      `--run-as own needs capabilities that this agent lacks: ${lacking.join(', ')}. Give them to it, ${remedy}`,
    );
  for (const map of ['uid_map', 'gid_map']) {
    if (isMapped(userRange, await readFile(`/proc/self/${map}`, 'utf8'))) continue;
    const { from, to } = userRange;
    throw refused(
      `--user-range ${from}-${to} is not all there in this user namespace (/proc/self/${map}). Give another one, ${remedy}`,
    );
  }
  return runAs;
}

/** Pure. @param status text of /proc/self/status */
export function lackingCapabilities(status: string): string[] {
  const held = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return Object.entries(NEEDED).flatMap(([name, bit]) => ((held >> BigInt(bit)) & 1n ? [] : [`CAP_${name}`]));
}

/** Pure. @param map text of /proc/self/uid_map: user_namespaces(7) */
export function isMapped({ from, to }: UidRange, map: string): boolean {
  const lines = map.trim().split('\n');
  const extents = lines.map((line) => line.trim().split(/\s+/).map(Number) as [number, number, number]);
  extents.sort(([a], [b]) => a - b);
  let next = from;
  for (const [first, , count] of extents) if (first <= next && next < first + count) next = first + count;
  return next > to;
}

function refused(why: string): MorchError {
  return new MorchError('INVALID_INPUT', `${why}.`);
}
