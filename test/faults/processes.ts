/** The processes of this run's namespace, seen at once: with thousands of them a look at each for each would take minutes. */
import { readdirSync, readFileSync } from 'node:fs';

interface Seen {
  pid: number;
  parent: number;
}

/** Pids of some processes and all their descendants. */
export function treesOf(roots: readonly number[]): number[] {
  const children = new Map<number, number[]>();
  for (const { pid, parent } of look()) children.set(parent, [...(children.get(parent) ?? []), pid]);
  const found = [...roots];
  // It grows meanwhile.
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}

/** SIGKILL; who has ended meanwhile is passed over. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

function look(): Seen[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
        return [{ pid: Number(name), parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) }];
      } catch {
        return [];
      }
    });
}
