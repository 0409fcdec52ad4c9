/** A few fields of /proc/pid/stat. */
import { readdir, readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';

/** Names one process until the next boot. */
export interface ProcessId {
  pid: number;
  startTicks: number;
}

export interface ProcessStat {
  state: string;
  session: number;
  /** Field 22: with the pid, the identity of a process until the next boot. */
  startTicks: number;
}

export function isAlive({ state }: Pick<ProcessStat, 'state'>): boolean {
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

/** Start times are told in clock ticks (USER_HZ) since the boot: 100 a second on every architecture that Node runs on. */
export const TICK_MS = 10;

interface Member extends ProcessId, ProcessStat {}

let nextLook: Promise<Map<number, Member[]>> | null = null;

/** The processes of each session, by a look that began after the call. Who asks in the same turn of the loop shares it. */
function lookAtSessions(): Promise<Map<number, Member[]>> {
  nextLook ??= setImmediate().then(() => {
    nextLook = null;
    return readSessions();
  });
  return nextLook;
}

async function readSessions(): Promise<Map<number, Member[]>> {
  const sessions = new Map<number, Member[]>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readProcessStat(Number(name));
    if (stat === null) continue;
    const members = sessions.get(stat.session) ?? [];
    members.push({ pid: Number(name), ...stat });
    sessions.set(stat.session, members);
  }
  return sessions;
}

/**
 * Live members of the session that a process has made, itself included; none unless it is certain that it is the same
 * session still. The kernel gives the number to no other process while the session has a member: then a stranger may
 * get it, and make a session of its own. So one of the members must be known to be of the first: the maker, a `witness`,
 * or one that was there when the maker was last seen.
 *
 * @param witnesses processes known to descend from the maker, seen before the call
 * @param seenTicks when the maker was certainly there; null: not known
 */
export async function findSession(
  maker: ProcessId,
  witnesses: readonly ProcessId[],
  seenTicks: number | null,
): Promise<ProcessId[]> {
  const members = (await lookAtSessions()).get(maker.pid) ?? [];
  const isOfMaker = ({ pid, startTicks }: ProcessId) =>
    [maker, ...witnesses].some((known) => known.pid === pid && known.startTicks === startTicks) ||
    (seenTicks !== null && startTicks < seenTicks);
  for (const member of members.filter(isOfMaker)) {
    // Still there: all this while the number was taken.
    const stat = await readProcessStat(member.pid);
    if (stat?.startTicks === member.startTicks && stat.session === maker.pid)
      return members.filter(isAlive).map(({ pid, startTicks }) => ({ pid, startTicks }));
  }
  return [];
}
