/**
 * Preloaded into a scheduler, and so into its thread of connections: at SIGUSR2 that thread stands still for
 * MORCH_FAULT_STALL_MS, in the callback of an I/O event.
 */
'use strict';

const { isMainThread } = require('node:worker_threads');

const channel = new BroadcastChannel('morch-fault-stall');
channel.unref();
if (isMainThread) {
  process.on('SIGUSR2', () => channel.postMessage(null));
} else {
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  channel.onmessage = () => Atomics.wait(nothing, 0, 0, Number(process.env.MORCH_FAULT_STALL_MS));
}
