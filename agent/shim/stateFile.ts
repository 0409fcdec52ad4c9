/** Reads what a shim has recorded of its run: `run.<n>.open` while the main process lives, `run.<n>.ended` afterwards. */
import { join } from 'node:path';
import { readOwnFile } from '../files';
import { parseShimText, type ShimLine } from './record';

/**
 * @param nonce null where the run's is not known any more
 * @returns the lines there are of this run, in order; none when there is no file, or it is another's
 */
export async function readStateFile(directory: string, run: number, nonce: string | null): Promise<ShimLine[]> {
  const names = [`run.${run}.ended`, `run.${run}.open`];
  // It may be renamed between the two looks.
  for (const name of [...names, names[0]!]) {
    const text = await readIfThere(join(directory, name));
    if (text === null) continue;
    return parseShimText(text).lines.filter((line) => nonce === null || line.nonce === nonce);
  }
  return [];
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readOwnFile(path, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
