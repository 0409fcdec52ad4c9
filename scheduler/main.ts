/**
 * The scheduler from its start to its end. What takes longest of a start is to read the store and to load the scheduler's own parts,
 * so little is loaded before the store is being read.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { MorchError } from '../contract/errors';
import { parseSchedulerOptions } from './options';
import { readingThreadFor } from './readOnThread';
import { StateRecords } from './stateRecords';
import { type OpenedStore, openLevelStore } from './store/open';
import { type ReadThrough, readThrough } from './store/reading';

/**
 * Serves until SIGTERM or SIGINT. Agents and workloads go on without it.
 *
 * @param input see options.ts
 * @throws Error naming the flag when the port or the data directory cannot be had
 */
export async function runScheduler(input: unknown): Promise<void> {
  const options = parseSchedulerOptions(input);
  const startedAtMs = Date.now();
  const opened = await openStore(options.dataDir);
  await serving().serve(options, opened, startedAtMs);
}

function serving(): typeof import('./serving') {
  return require('./serving') as typeof import('./serving');
}

/** @throws MorchError INVALID_INPUT naming --data-dir */
async function openStore(dataDir: string): Promise<OpenedStore<StateRecords>> {
  try {
    // What lies above is not ours alone: an agent's workloads may have to pass there.
    await mkdir(path.dirname(dataDir), { recursive: true });
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot use --data-dir ${dataDir}: ${(cause as Error).message}`, { cause });
  }
  const directory = path.join(dataDir, 'store');
  const thread = await readingThreadFor(directory);
  const read: ReadThrough<StateRecords> = async (db, records) => {
    const reading = (thread?.read ?? readThrough)(db, records);
    serving();
    return reading;
  };
  try {
    return await openLevelStore(directory, () => new StateRecords(), read);
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', (cause as Error).message, { cause });
  } finally {
    await thread?.end();
  }
}
