/** The way to the work directories, for programs that run as other users than the agent: through its data directory. */
import { chmod, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from 'pino';

const MAY_PASS = 0o011;
const OTHERS_MAY_PASS = 0o001;

/** Others may go through the data directory from now on, and see nothing else of it; that its parents are closed is only said. */
export async function openPassage(dataDir: string, log: Logger): Promise<void> {
  await chmod(dataDir, (await stat(dataDir)).mode | MAY_PASS);
  const closed = await firstClosed(dataDir);
  if (closed === null) return;
  log.warn(
    { dataDir, closed },
    'instances run in their directories but cannot reach them by name: open the closed directory, or give a --data-dir elsewhere',
  );
}

async function firstClosed(path: string): Promise<string | null> {
  const above = path === '/' ? null : await firstClosed(dirname(path));
  return above ?? ((await stat(path)).mode & OTHERS_MAY_PASS ? null : path);
}
