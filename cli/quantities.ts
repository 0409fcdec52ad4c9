/**
 * Quantities as people write and read them: durations, memory, CPU. Pure; called by the flags' parsers and
 * by the tables. On the wire there are only integers with a unit in their name.
 */
import { MorchError } from '../contract/errors';

const MS_PER: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * @param text `500ms`, `10s`, `2m`, `1h`, `1m30s`, or `0`
 * @returns whole milliseconds
 * @throws MorchError INVALID_INPUT
 */
export function parseDurationMs(text: string): number {
  if (text === '0') return 0;
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) {
    const hint = /^\d+(\.\d+)?$/.test(text) ? `; give a unit: ${text}s or ${text}ms` : ', such as 10s, 500ms, 2m or 1h';
    throw new MorchError('INVALID_INPUT', `"${text}" is not a duration${hint}`);
  }
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(amount) * (MS_PER[unit ?? ''] ?? 0);
  }
  return whole(Math.round(totalMs), text);
}

const BYTES_PER: Record<string, number> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};

/**
 * @param text `512MiB`, `1GiB`, `64MB`, `1.5GiB`; a plain number is bytes
 * @returns whole bytes
 * @throws MorchError INVALID_INPUT
 */
export function parseMemoryBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(text);
  const unit = BYTES_PER[(match?.[2] ?? '?').toLowerCase()];
  if (match === null || unit === undefined) {
    throw new MorchError('INVALID_INPUT', `"${text}" is not an amount of memory, such as 512MiB, 1GiB or 64MB`);
  }
  return whole(Math.round(Number(match[1]) * unit), text);
}

/**
 * @param text cores: `2`, `0.5`; or thousandths of one: `250m`
 * @returns whole cpuMillis
 * @throws MorchError INVALID_INPUT
 */
export function parseCpuMillis(text: string): number {
  if (/^\d+m$/.test(text)) return whole(Number(text.slice(0, -1)), text);
  if (!/^\d+(\.\d+)?$/.test(text)) {
    throw new MorchError('INVALID_INPUT', `"${text}" is not an amount of CPU, such as 250m, 0.5 or 2 (cores)`);
  }
  return whole(Math.round(Number(text) * 1_000), text);
}

/** For `--cpu-millis`: a whole number is thousandths already; `250m` and `0.5` mean what they mean elsewhere. */
export function parseCpuMillisFlag(text: string): number {
  return /^\d+$/.test(text) ? whole(Number(text), text) : parseCpuMillis(text);
}

function whole(value: number, text: string): number {
  if (!Number.isSafeInteger(value)) throw new MorchError('INVALID_INPUT', `"${text}" is too large`);
  return value;
}

/** `12s`, `3m12s`, `5h3m`, `2d4h`; below a second `0s`. Negative (clocks differ) counts as 0. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return twoParts(seconds, 60, 'm', 1, 's');
  if (seconds < 86_400) return twoParts(seconds, 3_600, 'h', 60, 'm');
  return twoParts(seconds, 86_400, 'd', 3_600, 'h');
}

function twoParts(seconds: number, big: number, bigUnit: string, small: number, smallUnit: string): string {
  const rest = Math.floor((seconds % big) / small);
  return `${Math.floor(seconds / big)}${bigUnit}${rest === 0 ? '' : `${rest}${smallUnit}`}`;
}

/** For latencies and recovery times: `12ms`, `4.02s`, from a minute on as an age. */
export function formatMs(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${trimZeros((ms / 1_000).toFixed(2))}s`;
  return formatAge(ms);
}

/** `0B`, `512MiB`, `1.5GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${trimZeros(value.toFixed(value >= 100 ? 0 : 1))}${units[unit]}`;
}

/** Cores: `0.25`, `2`. */
export function formatCpu(cpuMillis: number): string {
  return trimZeros((cpuMillis / 1_000).toFixed(3));
}

function trimZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}
