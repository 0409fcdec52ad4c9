/** Both ways in which wires are made: in the thread that asks, and in one of their own, as compiled. */
import { join } from 'node:path';
import { WireThread } from '../../../scheduler/wires/thread';
import { OwnWires, type Wires } from '../../../scheduler/wires/wires';

export const PROGRAM = join(__dirname, '../../../dist/scheduler/wires/worker.js');

export const KINDS: [string, () => Wires][] = [
  ['in the same thread', () => new OwnWires()],
  ['in a thread of their own', () => new WireThread(PROGRAM)],
];
