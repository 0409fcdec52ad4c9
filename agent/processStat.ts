/** A few fields of /proc/pid/stat. */
import { readFile } from 'node:fs/promises';

export interface ProcessStat {
  state: string;
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
    return { state: fields[0]!, startTicks: Number(fields[19]) };
  } catch {
    return null; // it ended meanwhile
  }
}
