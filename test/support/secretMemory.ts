/** Where an agent keeps values of secrets: see agent/secrets.ts. */
import { createHash } from 'node:crypto';
import { rmdirSync } from 'node:fs';
import { join } from 'node:path';

export function memoryOf(dataDir: string): string {
  return join('/dev/shm', `morch-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`);
}

/** What an agent leaves that was killed, or that has left its workloads running; not if it holds anything. */
export function removeEmptyMemory(dataDir: string): void {
  try {
    rmdirSync(memoryOf(dataDir));
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
