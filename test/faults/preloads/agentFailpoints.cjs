/**
 * Preloaded into an agent: it is killed (SIGKILL) as it passes its MORCH_FAULT_KILL_AT-th point. Points are before and after
 * whatever makes a write durable or visible, and before every answer. The name of the fatal one is written to standard error.
 */
'use strict';

const fs = require('node:fs');
const { ServerResponse } = require('node:http');

const killAt = Number(process.env.MORCH_FAULT_KILL_AT);
let passed = 0;

function pass(name) {
  passed += 1;
  if (passed !== killAt) return;
  fs.writeSync(2, `killed at point ${passed}, ${name}\n`);
  process.kill(process.pid, 'SIGKILL');
}

function around(target, method, name) {
  const original = target[method];
  target[method] = async function (...args) {
    pass(`before ${name}`);
    const result = await original.apply(this, args);
    pass(`after ${name}`);
    return result;
  };
}

around(fs.promises, 'rename', 'a rename');
const { open } = fs.promises;
fs.promises.open = async (...args) => {
  const handle = await open(...args);
  around(handle, 'write', 'a write');
  around(handle, 'sync', 'a sync');
  return handle;
};
const { end } = ServerResponse.prototype;
ServerResponse.prototype.end = function (...args) {
  pass('before an answer');
  return end.apply(this, args);
};
