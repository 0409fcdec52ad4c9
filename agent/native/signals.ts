/**
 * Signal numbers and names of this platform. Used by the loader for exits, and by callers to turn a
 * workload's `stopSignal` into a number.
 */
import { constants } from 'node:os';

/** SIGRTMIN as glibc gives it to programs: the kernel's 32 and 33 are taken by its threads. */
const REALTIME_MIN = 34;
const REALTIME_MAX = 64;

/** Names that share a number with a better known one (signal(7)). */
const ALIASES = new Set(['SIGIOT', 'SIGPOLL', 'SIGUNUSED']);

const numberByName = new Map<string, number>(Object.entries(constants.signals));
const nameByNumber = new Map(
  [...numberByName].filter(([name]) => !ALIASES.has(name)).map(([name, number]) => [number, name]),
);

/** @returns 15 for 'SIGTERM', 37 for 'SIGRTMIN+3'; null for a name that is no signal here */
export function signalNumber(name: string): number | null {
  const known = numberByName.get(name);
  if (known !== undefined) return known;
  const offset = /^SIGRTMIN(?:\+(\d{1,2}))?$/.exec(name);
  if (offset === null) return name === 'SIGRTMAX' ? REALTIME_MAX : null;
  const number = REALTIME_MIN + Number(offset[1] ?? 0);
  return number <= REALTIME_MAX ? number : null;
}

/** @returns 'SIGTERM' for 15, 'SIGRTMIN+3' for 37, 'SIG99' for what has no name */
export function signalName(number: number): string {
  const known = nameByNumber.get(number);
  if (known !== undefined) return known;
  const isRealtime = number >= REALTIME_MIN && number <= REALTIME_MAX;
  if (!isRealtime) return `SIG${number}`;
  return number === REALTIME_MIN ? 'SIGRTMIN' : `SIGRTMIN+${number - REALTIME_MIN}`;
}
