/**
 * Preloaded into the scheduler: it is killed (SIGKILL) as it passes its MORCH_FAULT_KILL_AT-th point. Points are before and
 * after every write of the store, before and after every call of an agent and every message to one, and before every answer
 * to a client. The name of the fatal one is written to standard error.
 */
'use strict';

const { writeSync } = require('node:fs');
const { ServerResponse } = require('node:http');
const { ClassicLevel } = require('classic-level');
const { Pool } = require('undici');
const { WebSocket } = require('ws');

const killAt = Number(process.env.MORCH_FAULT_KILL_AT);
let passed = 0;

function pass(name) {
  passed += 1;
  if (passed !== killAt) return;
  writeSync(2, `killed at point ${passed}, ${name}\n`);
  process.kill(process.pid, 'SIGKILL');
}

/** Makes a point of the beginning of an asynchronous method and one of its end. */
function around(prototype, method, name) {
  const original = prototype[method];
  prototype[method] = async function (...args) {
    pass(`before ${name}`);
    const result = await original.apply(this, args);
    pass(`after ${name}`);
    return result;
  };
}

function before(prototype, method, name) {
  const original = prototype[method];
  prototype[method] = function (...args) {
    pass(`before ${name}`);
    return original.apply(this, args);
  };
}

around(ClassicLevel.prototype, '_batch', 'a write');
around(Pool.prototype, 'request', 'a call');
before(WebSocket.prototype, 'send', 'a message');
before(ServerResponse.prototype, 'end', 'an answer');
