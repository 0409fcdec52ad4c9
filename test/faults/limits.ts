/** Takes the descriptors of a running process away, by prlimit(1). */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';

/** It can open no more than it has open. @returns gives them back */
export function limitDescriptors(pid: number): () => void {
  const limits = execFileSync('prlimit', ['--pid', String(pid), '--nofile', '--output', 'SOFT,HARD', '--noheadings'], {
    encoding: 'utf8',
  });
  const [soft, hard] = limits.trim().split(/\s+/);
  const open = Math.max(...readdirSync(`/proc/${pid}/fd`).map(Number)) + 1;
  const set = (limit: string | number): void => {
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:${hard}`]);
  };
  set(open);
  return () => set(soft!);
}
