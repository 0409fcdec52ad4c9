/** The one error of the native layer, and what the addon's raw failures look like before they become it. */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

const nameByErrno = new Map(
  Object.entries(constants.errno)
    .reverse() // of names that share a number (EAGAIN, EWOULDBLOCK) the first one stays
    .map(([name, errno]) => [errno, name]),
);

/** @returns 'ENOENT' for 2, 'errno 999' for what has no name */
export function errnoName(errno: number): string {
  return nameByErrno.get(errno) ?? `errno ${errno}`;
}

/** A system call that failed, with what it was about. */
export class NativeError extends Error {
  override readonly name = 'NativeError';
  /** 'execve', 'open', 'chdir', 'clone3', … */
  readonly syscall: string;
  /** As in errno(3): positive, unlike Node's own errors. */
  readonly errno: number;
  /** 'ENOENT' */
  readonly code: string;

  /** @param what  the path, pid or argument concerned; may be empty */
  constructor(syscall: string, errno: number, what: string) {
    const code = errnoName(errno);
    const meaning = getSystemErrorMap().get(-errno)?.[1];
    super(`${syscall}${what === '' ? '' : ` ${what}`}: ${code}${meaning === undefined ? '' : `, ${meaning}`}`);
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
  }
}

/** Turns what the addon threw or rejected with into a NativeError; anything else is returned as it is. */
export function toNativeError(cause: unknown): unknown {
  if (typeof cause !== 'object' || cause === null) return cause;
  const { syscall, errno, what } = cause as { syscall?: unknown; errno?: unknown; what?: unknown };
  if (typeof syscall !== 'string' || typeof errno !== 'number' || typeof what !== 'string') return cause;
  return new NativeError(syscall, errno, what);
}
