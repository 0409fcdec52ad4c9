/** Takes the descriptors of a running process away, by prlimit(1). */
import { execFileSync } from 'node:child_process';

/** Lower than any descriptor that may become free: what is open stays open. */
const NONE_MORE = 3;

/** It can open nothing more. @returns lets it again */
export function limitDescriptors(pid: number): () => void {
  const limits = execFileSync('prlimit', ['--pid', String(pid), '--nofile', '--output', 'SOFT,HARD', '--noheadings'], {
    encoding: 'utf8',
  });
  const [soft, hard] = limits.trim().split(/\s+/);
  const set = (limit: string | number): void => {
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:${hard}`]);
  };
  set(NONE_MORE);
  return () => set(soft!);
}
