/**
 * The lines a shim writes, into the run's state file and as notices: docs/shim.md, "State file". Read by the host, and
 * by whoever recovers runs after a restart.
 *
 * Shims of other versions may still be running: words after those known here are ignored, and so are lines that
 * are not known.
 */

import { errnoName } from '../native/nativeError';
import { signalName } from '../native/signals';

export type ShimLine =
  | { kind: 'shim'; nonce: string; shimPid: number; shimStartTicks: number }
  | {
      kind: 'started';
      nonce: string;
      shimPid: number;
      shimStartTicks: number;
      /** The main process. */
      pid: number;
      startTicks: number;
      startedAtMs: number;
    }
  | { kind: 'failed'; nonce: string; step: string; errno: number; errnoCode: string }
  | {
      kind: 'exited';
      nonce: string;
      /** In a notice: the record has reached the disk. In the state file: true. */
      durable: boolean;
      /** null when killed by a signal. */
      code: number | null;
      /** 'SIGSEGV'; null when it exited. */
      signal: string | null;
      exitedAtMs: number;
      userMs: number;
      systemMs: number;
      /** Peak of the main process or of its largest waited-for descendant. */
      maxRssBytes: number;
      oomKilled: boolean;
      /** Output that could not be written, up to the exit. */
      droppedBytes: number;
      /** The fence had stopped it; false in what shims before this word wrote. */
      fenced: boolean;
    }
  | { kind: 'gone'; nonce: string; atMs: number };

export interface ShimText {
  /** In the order in which they were written. */
  lines: ShimLine[];
  /** What follows the last newline: the beginning of a line that is not written yet, or never was. */
  rest: string;
}

/** Never throws. */
export function parseShimText(text: string): ShimText {
  const parts = text.split('\n');
  const rest = parts.pop()!;
  return { lines: parts.map(parseLine).filter((line) => line !== null), rest };
}

const KIND = /^[a-z]+$/;
const NONCE = /^[A-Za-z0-9-]{8,64}$/;
const STEP = /^[a-z0-9_]+$/;
const INTEGER = /^-?\d{1,20}$/;

function parseLine(line: string): ShimLine | null {
  const words = line.split(' ');
  const kind = words[0]!;
  if (!KIND.test(kind)) return null;
  if (kind === 'shim') {
    const [, version, nonce, ...rest] = words;
    const numbers = integers(rest, 2);
    if (version !== '1' || !isNonce(nonce) || numbers === null) return null;
    return { kind, nonce, shimPid: numbers[0]!, shimStartTicks: numbers[1]! };
  }
  const [, nonce, ...rest] = words;
  if (!isNonce(nonce)) return null;
  switch (kind) {
    case 'started':
      return parseStarted(nonce, integers(rest, 4), integers(rest.slice(4), 1));
    case 'failed':
      return parseFailed(nonce, rest);
    case 'exited':
      return parseExited(nonce, integers(rest, 9), rest[9] === '1');
    case 'gone': {
      const numbers = integers(rest, 1);
      return numbers && { kind, nonce, atMs: numbers[0]! };
    }
    default:
      return null;
  }
}

/** The time apart: among numbers of its size V8 would keep each of the others, for as long as the run, in a box of its own. */
function parseStarted(nonce: string, numbers: number[] | null, times: number[] | null): ShimLine | null {
  if (numbers === null || times === null) return null;
  const [shimPid, shimStartTicks, pid, startTicks] = numbers as FourNumbers;
  const [startedAtMs] = times as [number];
  return { kind: 'started', nonce, shimPid, shimStartTicks, pid, startTicks, startedAtMs };
}

function parseFailed(nonce: string, [step, ...rest]: string[]): ShimLine | null {
  const numbers = integers(rest, 1);
  if (step === undefined || !STEP.test(step) || numbers === null) return null;
  const errno = numbers[0]!;
  return { kind: 'failed', nonce, step, errno, errnoCode: errnoName(errno) };
}

function parseExited(nonce: string, numbers: number[] | null, fenced: boolean): ShimLine | null {
  if (numbers === null) return null;
  const [durable, code, signal, exitedAtMs, userUs, systemUs, maxRssKib, oom, droppedBytes] = numbers as NineNumbers;
  return {
    kind: 'exited',
    nonce,
    durable: durable === 1,
    code: code < 0 ? null : code,
    signal: signal === 0 ? null : signalName(signal),
    exitedAtMs,
    userMs: userUs / 1000,
    systemMs: systemUs / 1000,
    maxRssBytes: maxRssKib * 1024,
    oomKilled: oom === 1,
    droppedBytes,
    fenced,
  };
}

type FourNumbers = [number, number, number, number];
type NineNumbers = [...FourNumbers, ...FourNumbers, number];

/** @returns the first `count` words as numbers; null when there are fewer or one is none */
function integers(words: string[], count: number): number[] | null {
  const wanted = words.slice(0, count);
  return wanted.length === count && wanted.every((word) => INTEGER.test(word)) ? wanted.map(Number) : null;
}

function isNonce(word: string | undefined): word is string {
  return word !== undefined && NONCE.test(word);
}
