/** The programs of `test/fixtures`, compiled when they are asked for, and the notes that their processes leave. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive } from './agent';
import { until } from './until';

export const FIXTURES = join(__dirname, '..', 'fixtures');
const BUILD = join(FIXTURES, 'build');
const FLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread'];

/** @returns path of the program made from test/fixtures/<name>.c as it is now */
export function fixture(name: string): string {
  const source = join(FIXTURES, `${name}.c`);
  const hash = createHash('sha256').update(FLAGS.join());
  for (const file of [source, join(FIXTURES, 'fixture.h')]) hash.update(readFileSync(file));
  const program = join(BUILD, `${name}-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(program)) return program;
  mkdirSync(BUILD, { recursive: true });
  // Another test file may be compiling or running the same one.
  const fresh = `${program}.${process.pid}`;
  execFileSync('cc', [...FLAGS, '-o', fresh, source], { stdio: ['ignore', 'ignore', 'inherit'] });
  renameSync(fresh, program);
  return program;
}

/** A process that a fixture has noted, known by its start time too, so that a later one of its pid is not taken for it. */
export interface NotedProcess {
  pid: number;
  startTicks: number;
  role: string;
}

/** The file of notes of one fixture. */
export class Notes {
  constructor(readonly path: string) {}

  read(): NotedProcess[] {
    if (!existsSync(this.path)) return [];
    const lines = readFileSync(this.path, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => {
      const [pid, startTicks, ...role] = line.split(' ');
      return { pid: Number(pid), startTicks: Number(startTicks), role: role.join(' ') };
    });
  }

  /** Waits until there are as many, and returns them. */
  untilCount(count: number): Promise<NotedProcess[]> {
    return until(
      () => {
        const noted = this.read();
        return noted.length >= count && noted;
      },
      { what: `${this.path} has ${count} notes`, timeoutMs: 20_000 },
    );
  }

  /**
   * Those that a killed shim has left are killed when its run is told as lost, and reaped soon after by who has
   * inherited them.
   */
  async expectReaped(): Promise<void> {
    expect(this.left().filter(({ pid }) => isAlive(pid))).toEqual([]);
    await until(() => this.left().length === 0, { what: 'none is left as a zombie' });
  }

  /** Those that are still there, be it as zombies. */
  left(): NotedProcess[] {
    return this.read().filter(({ pid, startTicks }) => startTicksOf(pid) === startTicks);
  }
}

/** Field 22 of /proc/pid/stat; null when there is no such process. */
export function startTicksOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  } catch {
    return null;
  }
}
