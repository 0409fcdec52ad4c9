/**
 * The thread's own half of readOnThread.ts: opens the store beside the thread that asks, reads it through with all checks, and gives
 * what it finds as it goes. Executed by a Worker.
 */
import { parentPort } from 'node:worker_threads';
import type { PackedHistory } from './events/history';
import { type PackedRecords, RecordPacker } from './packedRecords';
import type { Reading } from './store/damage';
import type { PackedFingerprints } from './store/fingerprints';
import { openHandle } from './store/handle';
import { readThrough } from './store/reading';

/** So many pieces may wait to be taken in, of 1 MB at most. */
const AHEAD = 64;

export type Told =
  | { kind: 'records'; packed: PackedRecords }
  | { kind: 'end'; reading: Reading; fingerprints: PackedFingerprints; history: PackedHistory };

/** To the thread: what to read, or that one piece more has been taken in. */
export type Asked = { kind: 'read'; directory: string } | { kind: 'taken' };

const port = parentPort!;
let waiting = 0;
let goOn: () => void = () => {};

port.on('message', (asked: Asked) => {
  if (asked.kind === 'read') void read(asked.directory);
  else {
    waiting -= 1;
    goOn();
  }
});

async function read(directory: string): Promise<void> {
  const packer = new RecordPacker(async (packed) => {
    tell({ kind: 'records', packed });
    waiting += 1;
    if (waiting < AHEAD) return;
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
  });
  const db = await openHandle(directory, directory, true);
  const { reading, fingerprints } = await readThrough(db, packer);
  await db.close();
  const packed = fingerprints.pack();
  tell(
    { kind: 'end', reading, fingerprints: packed, history: packer.packedHistory() },
    packed.tables.map(({ buffer }) => buffer),
  );
}

function tell(told: Told, handedOver: ArrayBuffer[] = []): void {
  port.postMessage(told, handedOver);
}
