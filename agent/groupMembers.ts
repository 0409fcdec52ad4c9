/**
 * Finds the members of a run's process group that no longer carry its nonce (started with `env -i`). They are
 * known for ours by descent: this process is a subreaper, so whatever a run leaves behind has it for an ancestor,
 * and nothing else in the system has.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { FoundProcess } from './nonceScanner';

export interface Stat {
  state: string;
  ppid: number;
  pgrp: number;
  startTicks: number;
}

/** Live members (zombies are left out) of group `pgid` that descend from `ancestor`. */
export async function findGroupMembers(pgid: number, ancestor: number): Promise<FoundProcess[]> {
  const stats = new Map<number, Stat>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readProcessStat(Number(name));
    if (stat !== null) stats.set(Number(name), stat);
  }
  const members: FoundProcess[] = [];
  for (const [pid, stat] of stats) {
    if (stat.pgrp === pgid && isAlive(stat) && descends(pid, ancestor, stats)) {
      members.push({ pid, startTicks: stat.startTicks });
    }
  }
  return members;
}

export function isAlive({ state }: Stat): boolean {
  return state !== 'Z' && state !== 'X';
}

function descends(pid: number, ancestor: number, stats: ReadonlyMap<number, Stat>): boolean {
  let at = stats.get(pid);
  for (let depth = 0; at !== undefined && depth < stats.size; depth += 1) {
    if (at.ppid === ancestor) return true;
    at = stats.get(at.ppid);
  }
  return false;
}

/** proc_pid_stat(5). The second field may hold spaces and parentheses; the rest begins after its last one. */
export async function readProcessStat(pid: number): Promise<Stat | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, ppid: Number(fields[1]), pgrp: Number(fields[2]), startTicks: Number(fields[19]) };
  } catch {
    return null; // it ended meanwhile
  }
}
