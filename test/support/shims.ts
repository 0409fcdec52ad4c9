/** Shims in /proc, found as an agent finds its own, and an end for those that tests leave running. */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { removeEmptyMemory } from './secretMemory';
import { until } from './until';

/** How long they have for their records when their trees have been killed. */
const LEAVE_MS = 3_000;

/** Pids of the live shims of an agent's data directory. */
export function shimsOf(dataDir: string): number[] {
  const directory = realPathOf(dataDir);
  return pids().filter((pid) => {
    const [program, place] = read(pid, 'cmdline').split('\0');
    return program === 'morch-shim' && place === directory;
  });
}

/** SIGKILL to the shims of an agent's data directory, as the death of their machine would. */
export function killShims(dataDir: string): void {
  for (const shim of shimsOf(dataDir)) signal(shim, 'SIGKILL');
}

/** Pids of everything below a process. */
export function descendantsOf(ancestor: number): number[] {
  const parents = new Map(pids().map((pid) => [pid, parentOf(pid)]));
  const isBelow = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent !== undefined && parent > 0 && (parent === ancestor || isBelow(parent));
  };
  return [...parents.keys()].filter(isBelow);
}

/** Kills the trees of all shims of these directories, and the shims that do not leave then. */
export async function endShims(dataDirs: readonly string[]): Promise<void> {
  const beganMs = performance.now();
  await until(
    () => {
      const shims = dataDirs.flatMap(shimsOf);
      const isLate = performance.now() - beganMs > LEAVE_MS;
      for (const shim of shims) {
        for (const pid of descendantsOf(shim)) signal(pid, 'SIGKILL');
        // The exit is of interest to nobody: it need not be recorded.
        signal(shim, isLate ? 'SIGKILL' : 'SIGUSR2');
      }
      return shims.length === 0;
    },
    { what: 'no shim is left', timeoutMs: 15_000 },
  );
  for (const dataDir of dataDirs) removeEmptyMemory(dataDir);
}

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function parentOf(pid: number): number {
  const stat = read(pid, 'stat');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
}

/** Empty when there is no such process. */
function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // a test has removed it
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
