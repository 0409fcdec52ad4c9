/** A few fields of /proc/pid/stat. */
import { readdir, readFile } from 'node:fs/promises';

export interface ProcessStat {
  state: string;
  session: number;
  /** Field 22: with the pid, the identity of a process until the next boot. */
  startTicks: number;
}

export function isAlive({ state }: ProcessStat): boolean {
  return state !== 'Z' && state !== 'X';
}

/** proc_pid_stat(5). The second field may hold spaces and parentheses; the rest begins after its last one. */
export async function readProcessStat(pid: number): Promise<ProcessStat | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, session: Number(fields[3]), startTicks: Number(fields[19]) };
  } catch {
    return null; // it ended meanwhile
  }
}

/**
 * Live members of the session that a process has made, itself included. The kernel gives the number to no other process
 * while the session has members, so whoever is in it and did not start before its maker descends from it.
 */
export async function findSession(maker: {
  pid: number;
  startTicks: number;
}): Promise<{ pid: number; startTicks: number }[]> {
  const members: { pid: number; startTicks: number }[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readProcessStat(Number(name));
    if (stat === null || !isAlive(stat) || stat.session !== maker.pid || stat.startTicks < maker.startTicks) continue;
    members.push({ pid: Number(name), startTicks: stat.startTicks });
  }
  return members;
}
