/** openssl(1), to look at certificates from outside. */
import { spawnSync } from 'node:child_process';

/** @returns what it wrote, both streams, and its exit code */
export function openssl(args: readonly string[], input = ''): { text: string; code: number | null } {
  const { stdout, stderr, status } = spawnSync('openssl', args, { input, encoding: 'utf8', timeout: 20_000 });
  return { text: `${stdout ?? ''}${stderr ?? ''}`, code: status };
}

export const hasOpenssl = openssl(['version']).code === 0;
