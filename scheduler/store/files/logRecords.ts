/**
 * The records of a LevelDB log file: a write-ahead log (`000012.log`) or a MANIFEST. Format: doc/log_format.md of
 * LevelDB: blocks of 32 KiB with fragments, each `crc (4) length (2) type (1)` and its bytes.
 */
import { maskedCrc32c } from './crc32c';

const BLOCK = 32 * 1024;
const HEADER = 7;
/** Of a fragment: the whole record, or its first, middle or last part. */
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

export interface LogRecord {
  bytes: Buffer;
  /** All its fragments passed their checks. */
  sound: boolean;
}

/**
 * All that has the form of a record, in order, also what fails its check. A last record that is cut off is left out:
 * that is what a process leaves which was killed while it wrote.
 *
 * @param onDamage told once for each place where something is missing or wrong, other than such an end
 */
export function* readLogRecords(file: Buffer, onDamage: () => void): Generator<LogRecord> {
  let parts: Buffer[] | undefined;
  let sound = true;
  for (const fragment of fragmentsOf(file, onDamage)) {
    const begins = fragment.type === FULL || fragment.type === FIRST;
    if (begins !== (parts === undefined)) onDamage();
    if (begins) {
      parts = [];
      sound = true;
    }
    if (parts === undefined) continue;
    parts.push(fragment.bytes);
    sound &&= fragment.sound;
    if (fragment.type === FIRST || fragment.type === MIDDLE) continue;
    yield { bytes: parts.length === 1 ? parts[0]! : Buffer.concat(parts), sound };
    parts = undefined;
  }
}

interface Fragment {
  type: number;
  bytes: Buffer;
  sound: boolean;
}

function* fragmentsOf(file: Buffer, onDamage: () => void): Generator<Fragment> {
  for (let block = 0; block < file.length; block += BLOCK) {
    const end = Math.min(block + BLOCK, file.length);
    for (let at = block; at + HEADER <= end; ) {
      const length = file.readUInt16LE(at + 4);
      const type = file[at + 6]!;
      const next = at + HEADER + length;
      if (next > end) {
        // Behind a length that cannot be, nothing of the block can be found. In the last one it is a cut-off end.
        if (end - block === BLOCK) onDamage();
        break;
      }
      if (type < FULL || type > LAST) {
        // LevelDB takes zeros for space that was allocated and not written.
        if (type !== 0 || length !== 0) onDamage();
        break;
      }
      const sound = file.readUInt32LE(at) === maskedCrc32c(file, at + 6, next);
      if (!sound) onDamage();
      yield { type, bytes: file.subarray(at + HEADER, next), sound };
      at = next;
    }
  }
}
