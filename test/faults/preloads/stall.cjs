/**
 * Preloaded into a part: at SIGUSR2 it stands still for MORCH_FAULT_STALL_MS, in the callback of an I/O event, as a synchronous
 * call to a slow disk or a long computation there would make it.
 */
'use strict';

const nothing = new Int32Array(new SharedArrayBuffer(4));
process.on('SIGUSR2', () => {
  Atomics.wait(nothing, 0, 0, Number(process.env.MORCH_FAULT_STALL_MS));
});
