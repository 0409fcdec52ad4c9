'use strict';
/**
 * A look inside a part of the product from a bench program. Loaded into the part before anything else (`node --require`), it
 * answers its parent over the channel; `askInside` asks. The part does not know of it.
 */
const inspector = require('node:inspector');
const { openSync, readSync, writeFileSync } = require('node:fs');
const { monitorEventLoopDelay, performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');

const RESOLUTION_MS = 10;
/** How often at most the turns of the event loop are told apart. */
const TURN_MS = 1;
/** Shorter ones are none to look at. */
const TOLD_MS = 10;
/**
 * How often a trace ends and another begins. The engine keeps 65,536 events; once they are full it hands them over in one turn of
 * this thread, some 65 ms that are no turn of the part, and whoever has not listened yet has lost them.
 */
const TRACE_RENEWED_MS = 60_000;
/** So many of the longest turns are written down with a profile. */
const TURNS_TOLD = 5;
const MARK = 'inside';

if (require.main !== module && process.send !== undefined && process.env.MORCH_PARENT_WATCH === '1') answerParent();

function answerParent() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const turns = watchTurns();
  const session = new inspector.Session();
  session.connect();
  let before;
  let profiled;
  let seen;
  let collections;
  let renewing;
  let renewal;

  /** What it takes to begin or end a trace is no turn of the part. */
  const beginTrace = async () => {
    await startCollections(session);
    await sleep(5 * TURN_MS);
    turns.beginAnew();
  };
  const endTrace = async () => {
    seen.push(...turns.take());
    collections.push(...(await stopCollections(session)));
  };

  const acts = {
    /** Begins to watch the event loop; with `profile` to write down as well what runs. */
    async watch({ profile }) {
      profiled = profile;
      if (profile) {
        await post(session, 'Profiler.enable');
        await post(session, 'Profiler.start');
      }
      seen = [];
      collections = [];
      await beginTrace();
      renewal = Promise.resolve();
      renewing = setInterval(acts.renew, TRACE_RENEWED_MS).unref();
      delay.reset();
      before = performance.eventLoopUtilization();
    },

    /** Ends a trace and begins another, some ms in which nothing is seen. */
    renew() {
      renewal = renewal.then(endTrace).then(beginTrace);
      return renewal;
    },

    /**
     * Ends what `watch` began. Times in ms; how much later than it should a timer fires, collections of garbage included;
     * `collectionMax`: the longest time that the thread stood in a collection or a step of one; `turnCpuMax`: the most CPU time
     * that it took in one turn of the event loop, collections apart.
     * @param file where to write the profile, if one was asked for: a .cpuprofile, as browsers and editors show it, with the
     *             longest turns beside
     */
    async told({ file }) {
      clearInterval(renewing);
      await renewal;
      const late = (ns) => Math.max(0, ns / 1e6 - RESOLUTION_MS);
      const loop = {
        delayP50: late(delay.percentile(50)),
        delayP99: late(delay.percentile(99)),
        delayMax: late(delay.max),
        busyShare: performance.eventLoopUtilization(before).utilization,
        heapUsedBytes: process.memoryUsage().heapUsed,
      };
      await endTrace();
      const longest = longestFirst(seen, collections);
      if (profiled) {
        const { profile } = await post(session, 'Profiler.stop');
        writeFileSync(file, JSON.stringify({ ...profile, turns: longest.slice(0, TURNS_TOLD) }));
      }
      return {
        ...loop,
        collectionMax: collections.reduce((most, { ms }) => Math.max(most, ms), 0),
        collectionTotal: collections.reduce((sum, { ms }) => sum + ms, 0),
        turnCpuMax: longest[0]?.ownMs ?? 0,
      };
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
 * @returns take: those since they were taken last, { began, ended } with { atUs, cpuMs } each
 */
function watchTurns() {
  const file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  const buffer = Buffer.alloc(64);
  const cpuMs = () => Number(buffer.toString('latin1', 0, readSync(file, buffer, 0, 64, 0)).split(' ', 1)[0]) / 1e6;
  const look = () => ({
    count: performance.nodeTiming.uvMetricsInfo.loopCount,
    atUs: Number(process.hrtime.bigint() / 1_000n),
    cpuMs: cpuMs(),
  });
  let turns = [];
  let began = look();
  setInterval(() => {
    if (performance.nodeTiming.uvMetricsInfo.loopCount === began.count) return;
    const now = look();
    if (now.cpuMs - began.cpuMs > TOLD_MS) turns.push({ began, ended: now });
    began = now;
  }, TURN_MS).unref();
  return {
    /** Of what was done until now nothing is told. */
    beginAnew() {
      turns = [];
      began = look();
    },
    take() {
      const taken = turns;
      turns = [];
      return taken;
    },
  };
}

/**
 * The engine's own trace tells each collection and each step of one, with the CPU time that the thread took for it. (What
 * performance entries tell leaves out the steps of marking, most of what a large heap takes.) What it does not tell by itself is
 * that the thread ends the sweeping of the whole heap when it leaves optimized code meanwhile (Heap::EnsureSweepingCompleted, below
 * Deoptimizer::MaterializeHeapObjects): of a deoptimization that is all that takes milliseconds.
 */
function startCollections(session) {
  return post(session, 'NodeTracing.start', { traceConfig: { includedCategories: ['v8'] } });
}

/** @returns those of this thread since, in their order: { fromUs, toUs, ms, cpuMs } */
async function stopCollections(session) {
  const events = [];
  const onEvents = ({ params }) => {
    for (const event of params.value) events.push(event);
  };
  session.on('NodeTracing.dataCollected', onEvents);
  const complete = new Promise((resolve) => session.once('NodeTracing.tracingComplete', resolve));
  await post(session, 'NodeTracing.stop');
  await complete;
  session.off('NodeTracing.dataCollected', onEvents);
  const own = events
    .filter(({ name, ph, tid }) => ph === 'X' && tid === process.pid && isCollection(name))
    .map(({ ts, dur, tdur }) => ({ fromUs: ts, toUs: ts + dur, ms: dur / 1e3, cpuMs: tdur / 1e3 }))
    .sort((a, b) => a.fromUs - b.fromUs || b.toUs - a.toUs);
  let endUs = 0;
  return own.filter(({ fromUs, toUs }) => {
    if (fromUs < endUs) return false; // a part of the one before
    endUs = toUs;
    return true;
  });
}

/** Every deoptimization counts, as the trace does not tell what it did; without a sweep to end it takes microseconds. */
function isCollection(name) {
  return name.startsWith('V8.GC') || name === 'V8.DeoptimizeCode';
}

/** @returns of each turn { fromUs, toUs, allMs, collectionMs, ownMs }, CPU times of the thread, the longest of its own first */
function longestFirst(turns, collections) {
  const told = ({ began, ended }) => {
    const collectionMs = collections
      .filter(({ fromUs }) => fromUs >= began.atUs && fromUs < ended.atUs)
      .reduce((sum, { cpuMs }) => sum + cpuMs, 0);
    const allMs = ended.cpuMs - began.cpuMs;
    return { fromUs: began.atUs, toUs: ended.atUs, allMs, collectionMs, ownMs: allMs - collectionMs };
  };
  return turns.map(told).sort((a, b) => b.ownMs - a.ownMs);
}

function post(session, method, params) {
  return new Promise((resolve, reject) =>
    session.post(method, params, (error, result) => (error === null ? resolve(result) : reject(error))),
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
