'use strict';
/**
 * A look inside a part of the product from a bench program. Loaded into the part before anything else (`node --require`), it
 * answers its parent over the channel; `askInside` asks. The part does not know of it.
 */
const inspector = require('node:inspector');
const { openSync, readSync, writeFileSync } = require('node:fs');
const { monitorEventLoopDelay, performance, PerformanceObserver } = require('node:perf_hooks');

const RESOLUTION_MS = 10;
/** How often at most the turns of the event loop are told apart. */
const TURN_MS = 1;
/** Shorter ones are none to look at. */
const TOLD_MS = 10;
/** So many of the longest turns are written down with a profile. */
const TURNS_TOLD = 5;
const MARK = 'inside';

if (require.main !== module && process.send !== undefined && process.env.MORCH_PARENT_WATCH === '1') answerParent();

function answerParent() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  let collections = { longestMs: 0, totalMs: 0 };
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      collections.longestMs = Math.max(collections.longestMs, duration);
      collections.totalMs += duration;
    }
  }).observe({ entryTypes: ['gc'] });
  const turns = watchTurns();
  let before = performance.eventLoopUtilization();
  let profiler = null;

  const acts = {
    /**
     * Since it was asked last. Times in ms; how much later than it should a timer fires, collections of garbage included;
     * `turnCpuMax`: the most CPU time that the thread took in one turn of the event loop, collections apart.
     */
    loop() {
      const late = (ns) => Math.max(0, ns / 1e6 - RESOLUTION_MS);
      const told = {
        delayP50: late(delay.percentile(50)),
        delayP99: late(delay.percentile(99)),
        delayMax: late(delay.max),
        collectionMax: collections.longestMs,
        collectionTotal: collections.totalMs,
        turnCpuMax: turns.take()[0]?.ownMs ?? 0,
        busyShare: performance.eventLoopUtilization(before).utilization,
        heapUsedBytes: process.memoryUsage().heapUsed,
      };
      delay.reset();
      collections = { longestMs: 0, totalMs: 0 };
      before = performance.eventLoopUtilization();
      return told;
    },

    async startProfile() {
      profiler = new inspector.Session();
      profiler.connect();
      await post(profiler, 'Profiler.enable');
      await post(profiler, 'Profiler.start');
      // What it took to begin is no turn of the part.
      await new Promise((resolve) => setTimeout(resolve, 5 * TURN_MS));
      turns.take();
    },

    /** @param file a .cpuprofile, as browsers and editors show it, with the longest turns beside */
    async stopProfile({ file }) {
      const longest = turns.look().slice(0, TURNS_TOLD);
      const { profile } = await post(profiler, 'Profiler.stop');
      profiler.disconnect();
      writeFileSync(file, JSON.stringify({ ...profile, turns: longest }));
    },
  };

  process.on('message', async ({ mark, id, act, ...what }) => {
    if (mark !== MARK) return;
    process.send({ mark, id, result: await acts[act](what) });
  });
}

/**
 * A timer that is due at once fires in each turn of the event loop that is long enough to matter: what the thread took on a
 * CPU since it fired last is the turn's, whatever else ran on the machine meanwhile. Where many timers are due it fires among
 * them as well, so the loop's own count tells the turns apart. A turn is all that is done between two looks at the timers:
 * of everything that could be read then, and of whatever was put off to this turn.
 */
function watchTurns() {
  const file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  const buffer = Buffer.alloc(64);
  const cpuMs = () => Number(buffer.toString('latin1', 0, readSync(file, buffer, 0, 64, 0)).split(' ', 1)[0]) / 1e6;
  const look = () => ({
    count: performance.nodeTiming.uvMetricsInfo.loopCount,
    atMs: performance.now(),
    atUs: Number(process.hrtime.bigint() / 1_000n),
    cpuMs: cpuMs(),
  });
  let turns = [];
  let collections = [];
  let began = look();
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) collections.push({ startTime, duration });
  }).observe({ entryTypes: ['gc'] });
  setInterval(() => {
    if (performance.nodeTiming.uvMetricsInfo.loopCount === began.count) return;
    const now = look();
    if (now.cpuMs - began.cpuMs > TOLD_MS) turns.push({ began, ended: now });
    began = now;
  }, TURN_MS).unref();

  /** A collection is known by the time that it took, in which the thread may have waited for a CPU as it did in all of the turn. */
  const told = ({ began, ended }) => {
    const collectionMs = collections
      .filter(({ startTime }) => startTime >= began.atMs && startTime < ended.atMs)
      .reduce((sum, { duration }) => sum + duration, 0);
    const allMs = ended.cpuMs - began.cpuMs;
    const onCpu = Math.min(1, allMs / (ended.atMs - began.atMs));
    return { fromUs: began.atUs, toUs: ended.atUs, allMs, collectionMs, ownMs: allMs - collectionMs * onCpu };
  };
  const longestFirst = () => turns.map(told).sort((a, b) => b.ownMs - a.ownMs);
  return {
    /** Those since they were taken last, the longest first: { fromUs, toUs, allMs, collectionMs, ownMs } */
    look: longestFirst,
    take() {
      const longest = longestFirst();
      turns = [];
      collections = [];
      return longest;
    },
  };
}

function post(session, method) {
  return new Promise((resolve, reject) =>
    session.post(method, (error, result) => (error === null ? resolve(result) : reject(error))),
  );
}

let asked = 0;

/** @param part launched with this file as its preload; @returns what the act of that name tells */
function askInside({ child }, act, what = {}) {
  asked += 1;
  const id = asked;
  return new Promise((resolve, reject) => {
    const done = (error, result) => {
      child.off('message', onMessage);
      child.off('exit', onExit);
      if (error === null) resolve(result);
      else reject(error);
    };
    const onMessage = (message) => {
      if (message.mark === MARK && message.id === id) done(null, message.result);
    };
    const onExit = () => done(new Error('the part has ended'));
    child.on('message', onMessage);
    child.once('exit', onExit);
    child.send({ mark: MARK, id, act, ...what });
  });
}

module.exports = { askInside, INSIDE: __filename };
