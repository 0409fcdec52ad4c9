/**
 * Preloaded into a part: a large heap that changes all the time, so that the garbage collector has long work to do; and every
 * few seconds all of it at once, which stops everything else meanwhile.
 */
'use strict';

const v8 = require('node:v8');
const vm = require('node:vm');

const KEPT = 600;
const OBJECTS = 10_000;
const ADD_EVERY_MS = 20;
const COLLECT_EVERY_MS = 3_000;

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');
const kept = [];
let next = 0;

function add() {
  kept[next % KEPT] = Array.from({ length: OBJECTS }, (_, at) => ({
    at,
    text: `${next} ${at}`,
    before: kept[at % KEPT],
  }));
  next += 1;
}

setInterval(add, ADD_EVERY_MS).unref();
setInterval(collect, COLLECT_EVERY_MS).unref();
