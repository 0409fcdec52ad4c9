/** What of the node may be reserved. */
import type { Amounts } from '../contract/node';

const MIB = 1024 ** 2;
const LEAST_RESERVE_BYTES = 256 * MIB;
const RESERVE_SHARE = 0.05;

/** Pure. @param given overrides of `--cpu-millis` and `--memory-bytes` */
export function capacityOf(
  node: { cpuCount: number; memoryTotalBytes: number },
  given: { cpuMillis?: number | undefined; memoryBytes?: number | undefined },
): Amounts {
  const reserveBytes = Math.max(LEAST_RESERVE_BYTES, Math.ceil(node.memoryTotalBytes * RESERVE_SHARE));
  return {
    cpuMillis: given.cpuMillis ?? node.cpuCount * 1_000,
    memoryBytes: given.memoryBytes ?? Math.max(0, node.memoryTotalBytes - reserveBytes),
  };
}
