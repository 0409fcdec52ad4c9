/** Where the parts keep their data unless told otherwise. */
import { homedir } from 'node:os';
import path from 'node:path';

export type PartName = 'scheduler' | 'agent';

/** For help and documentation, the same for every user. */
export function describeDataDir(part: PartName | 'dev'): string {
  return `/var/lib/morch/${part} as root, else ~/.local/share/morch/${part}`;
}

/** As root /var/lib/morch/<part>, else below XDG_DATA_HOME. */
export function defaultDataDir(part: PartName | 'dev', env: NodeJS.ProcessEnv = process.env): string {
  if (process.getuid?.() === 0) return path.join('/var/lib/morch', part);
  const base = env.XDG_DATA_HOME;
  // The XDG specification: a relative path in the variable is to be ignored.
  const folder = base !== undefined && path.isAbsolute(base) ? base : path.join(env.HOME ?? homedir(), '.local/share');
  return path.join(folder, 'morch', part);
}
