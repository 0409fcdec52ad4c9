/** Damage to the files of a scheduler that does not run, as failing disks and careless people make it. */
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from './random';

/** One file, in one way, at random. @returns what was done, in words */
export function damageSomething(dataDir: string, random: Random): string {
  const path = random.pick(filesOf(dataDir));
  const { size } = statSync(path);
  switch (random.between(0, 3)) {
    case 0: {
      rmSync(path);
      return `done: ${path} removed`;
    }
    case 1: {
      const left = random.between(0, size - 1);
      truncateSync(path, left);
      return `done: ${path} cut off after ${left} of ${size} bytes`;
    }
    default: {
      const bytes = readFileSync(path);
      const at = random.between(0, size - 1);
      bytes[at]! ^= 1 << random.between(0, 7);
      writeFileSync(path, bytes);
      return `done: a bit flipped in byte ${at} of ${path}, ${size} bytes`;
    }
  }
}

/** What LevelDB reads, and the mark beside it; locks and its log in words do not matter. */
function filesOf(dataDir: string): string[] {
  const store = join(dataDir, 'store');
  const names = readdirSync(store).filter((name) => /^(\d+\.(log|ldb)|MANIFEST-\d+|CURRENT)$/.test(name));
  return [...names.map((name) => join(store, name)), join(dataDir, 'store.mark')].filter(
    (path) => statSync(path).size > 0,
  );
}
