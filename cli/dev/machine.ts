/** What this machine has, shared out to the agents of `morch dev`. */
import { availableParallelism, totalmem } from 'node:os';

const LEAST_RESERVE_BYTES = 256 * 1024 ** 2;
const RESERVE_SHARE = 0.05;

/**
 * An equal share for each of `agents`: CPU undivided otherwise, memory less a reserve for all else on the
 * machine, the larger of 256 MiB and 5 %. Pure.
 */
export function shareOut(
  machine: { cpuMillis: number; memoryBytes: number },
  agents: number,
): { cpuMillis: number; memoryBytes: number } {
  const reserveBytes = Math.max(LEAST_RESERVE_BYTES, machine.memoryBytes * RESERVE_SHARE);
  return {
    cpuMillis: Math.max(1, Math.floor(machine.cpuMillis / agents)),
    memoryBytes: Math.max(1, Math.floor((machine.memoryBytes - reserveBytes) / agents)),
  };
}

/** Memory is what a cgroup leaves this process, where one limits it. */
export function measureMachine(): { cpuMillis: number; memoryBytes: number } {
  const constrained = process.constrainedMemory();
  const limit = constrained > 0 ? constrained : Number.POSITIVE_INFINITY;
  return { cpuMillis: availableParallelism() * 1_000, memoryBytes: Math.min(totalmem(), limit) };
}
