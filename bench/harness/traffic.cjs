'use strict';
/**
 * Starts and stops that are under way when their agent is killed, and what must be true of each afterwards, by how much of it
 * had been answered. Used by agentRestarts.cjs.
 */
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { inLanes } = require('./lanes.cjs');
const { countBy } = require('./processes.cjs');
const { until } = require('./until.cjs');

const LANES = 8;
/** Fewer than an agent used alone keeps of ended ones, so that each can be asked about. */
const MOST = 60;
const GRACE_MS = 300;
const STOPPED_WITHIN_MS = 5_000;

/** What is started, in turn. `file` gets a line with the pid at each start. */
const KINDS = [
  { name: 'stays', script: 'echo $$ >> "$0"; exec sleep 100000' },
  { name: 'stops', script: 'echo $$ >> "$0"; exec sleep 100000', isStopped: true },
  { name: 'quick', script: 'echo $$ >> "$0"; exit 7', code: 7 },
  { name: 'deaf', script: 'trap "" TERM; echo $$ >> "$0"; while :; do sleep 1; done', isStopped: true },
];

const COUNTED = [
  'starts',
  'startsUnheard',
  'unheardThere',
  'unheardUnknown',
  'unheardLost',
  'stops',
  'stopsUnheard',
  'doubled',
];

class Traffic {
  /** { name, instanceId, uid, file, spec, started, stopped }; the last two: null, 'sent', or the answer */
  #items = [];
  #over = false;
  #ended = Promise.resolve();

  constructor({ agent, files, run, claim }) {
    Object.assign(this, { agent, files, run, claim });
    this.counts = Object.fromEntries(COUNTED.map((name) => [name, 0]));
  }

  /** Resolves after that time, with some of it still unanswered. */
  async runFor(ms) {
    const serials = Array.from({ length: MOST }, (_, at) => at);
    const endAt = performance.now() + ms;
    this.#ended = inLanes(serials, LANES, async (serial) => {
      if (!this.#over) await this.#attempt(this.#make(serial)).catch((error) => this.#tell(error));
    });
    await sleep(Math.max(0, endAt - performance.now()));
    this.#over = true;
  }

  /** To be called once the agent is killed. */
  async ended() {
    await this.#ended;
  }

  #make(serial) {
    const { name, script, code, isStopped = false } = KINDS[serial % KINDS.length];
    const instanceId = `busy-${this.run}.${serial}`;
    const file = path.join(this.files, instanceId);
    const uid = `busy-${this.run}-${process.pid}`;
    const policy = { restart: { policy: 'never' }, stop: { graceMs: GRACE_MS } };
    const spec = { instanceId, uid, generation: 1, command: ['sh', '-c', script, file], ...policy };
    const item = { name, instanceId, uid, file, code, isStopped, spec, started: null, stopped: null };
    this.#items.push(item);
    return item;
  }

  async #attempt(item) {
    item.started = 'sent';
    item.started = await this.agent.start(item.spec);
    if (!item.isStopped) return;
    // Some are stopped before their program has begun, some after.
    await sleep(Math.random() * 30);
    if (this.#over) return;
    item.stopped = 'sent';
    item.stopped = await this.agent.request('POST', '/stop', { instanceId: item.instanceId });
  }

  /** A refusal is a failure at any time; that the connection broke is one unless the agent was to be killed. */
  #tell(error) {
    this.claim(error.status === undefined && this.#over, `in traffic: ${error.message}`);
  }

  /**
   * Checks all of it against the agent's first answer after its restart, sends again what was not answered, and stops what lives.
   * @param known instances by id
   */
  async examine(known) {
    for (const item of this.#items) this.#count(item);
    for (const item of this.#items) await this.#examineOne(item, known.get(item.instanceId));
    const unheard = this.#items.filter(({ started }) => started === 'sent');
    await inLanes(unheard, LANES, (item) => this.#sendAgain(item));
    await inLanes(this.#items, LANES, (item) => this.#stop(item));
    await this.#examineStopped();
    return this.counts;
  }

  #count({ started, stopped }) {
    if (started !== null) this.counts[started === 'sent' ? 'startsUnheard' : 'starts'] += 1;
    if (stopped !== null) this.counts[stopped === 'sent' ? 'stopsUnheard' : 'stops'] += 1;
  }

  async #examineOne(item, told) {
    const { instanceId, started, stopped, code } = item;
    const say = (isTrue, what) =>
      this.claim(isTrue, `${instanceId} (${item.name}) ${what}: ${JSON.stringify({ item, told })}`);
    if (started === 'sent') {
      await this.#examineUnheard(item, told, say);
      return;
    }
    if (!say(told?.run === 1 && told.generation === 1, 'was acknowledged')) return;
    if (stopped === null && code === undefined) {
      say(
        told.status === 'running' && told.pid === started.pid && told.startedAt === started.startedAt,
        'was to go on',
      );
      await this.#untilStartedOnce(item);
    } else if (stopped === null || code !== undefined) {
      const is = await this.#untilEnded(item);
      say(is.status === 'failed' && is.exit?.code === code, `ended with ${code}, and is ${JSON.stringify(is)}`);
    } else if (stopped !== 'sent') {
      const isSame = JSON.stringify(told.exit) === JSON.stringify(stopped.exit);
      say(told.status === 'stopped' && isSame && this.#copiesOf(item) === 0, 'was stopped, and that was acknowledged');
    }
    say(startsIn(item.file) <= 1 && this.#copiesOf(item) <= mostCopiesOf(item), 'runs twice');
  }

  /** Of a start without an answer: nothing at all, or one that is known. */
  async #examineUnheard(item, told, say) {
    const { counts } = this;
    if (told === undefined) {
      counts.unheardUnknown += 1;
      say(this.#copiesOf(item) === 0 && startsIn(item.file) === 0, 'runs, and the agent does not know of it');
    } else if (told.lost) {
      counts.unheardLost += 1;
      say(this.#copiesOf(item) === 0 && startsIn(item.file) === 0, 'is told as lost, and has run');
    } else {
      counts.unheardThere += 1;
      say(told.run === 1 && told.pid !== undefined, 'is there once');
      await this.#untilStartedOnce(item);
    }
  }

  /** The same start again: what is there is answered, what is not is started, what was lost stays so. */
  async #sendAgain(item) {
    try {
      item.started = await this.agent.start(item.spec);
    } catch (error) {
      this.claim(error.status === 409 || error.status === 422, `${item.instanceId}, sent again: ${error.message}`);
      this.claim(startsIn(item.file) === 0, `${item.instanceId}, refused when it was sent again, has run`);
      return;
    }
    await this.#untilStartedOnce(item);
  }

  async #stop({ instanceId, uid, started }) {
    if (started === null) return;
    const before = performance.now();
    try {
      await this.agent.request('POST', '/stop', { instanceId, uid });
    } catch (error) {
      this.claim(error.status === 404, `${instanceId} could not be stopped: ${error.message}`);
    }
    const tookMs = performance.now() - before;
    this.claim(tookMs < STOPPED_WITHIN_MS, `the stop of ${instanceId} took ${tookMs.toFixed(0)} ms`);
  }

  async #examineStopped() {
    const own = new Set(this.#items.map(({ instanceId }) => instanceId));
    const left = this.agent.processes().filter(({ env }) => own.has(env.MORCH_INSTANCE));
    this.claim(left.length === 0, `after their stop: ${left.map(({ env }) => env.MORCH_INSTANCE).join(', ')}`);
    const keys = new Set(this.agent.shims().map(({ key }) => key));
    const shims = this.#items.filter(({ uid, instanceId }) => keys.has(`${uid}.${instanceId.split('.')[1]}.1.1`));
    this.claim(shims.length === 0, `shims after their stop: ${shims.map(({ instanceId }) => instanceId).join(', ')}`);
    const doubled = this.#items.filter((item) => startsIn(item.file) > 1);
    this.counts.doubled += doubled.length;
    this.claim(doubled.length === 0, `started twice: ${doubled.map(({ instanceId }) => instanceId).join(', ')}`);
  }

  #copiesOf({ instanceId }) {
    return countBy(this.agent.processes(), 'MORCH_INSTANCE').get(instanceId) ?? 0;
  }

  /** It is running from its exec on, a moment before its shell has written; one that was stopped may not have come so far. */
  async #untilStartedOnce(item) {
    const written = () => startsIn(item.file) > 0 || item.stopped !== null;
    await until(written, { what: `${item.instanceId} has started`, timeoutMs: 5_000 }).catch(() => {}); // the check tells
    const starts = startsIn(item.file);
    this.claim(starts === 1 || item.stopped !== null, `${item.instanceId}: ${starts} starts`);
  }

  async #untilEnded({ instanceId }) {
    const look = async () => (await this.agent.instances()).find((one) => one.instanceId === instanceId);
    const hasEnded = async () => ['completed', 'failed', 'stopped'].includes((await look())?.status);
    await until(hasEnded, { what: `${instanceId} has ended`, timeoutMs: 5_000 }).catch(() => {}); // the check tells
    return look();
  }

  describe() {
    const { starts, startsUnheard, stops, stopsUnheard } = this.counts;
    return `${starts} starts and ${stops} stops answered, ${startsUnheard} and ${stopsUnheard} not`;
  }

  static total(all) {
    return Object.fromEntries(COUNTED.map((name) => [name, all.reduce((sum, counts) => sum + counts[name], 0)]));
  }

  static lines(totals) {
    return [
      `  starts answered ${totals.starts}, not answered ${totals.startsUnheard}: there once ${totals.unheardThere}, never begun ` +
        `${totals.unheardUnknown}, told as lost ${totals.unheardLost}; stops answered ${totals.stops}, not answered ` +
        `${totals.stopsUnheard}; doubled ${totals.doubled}`,
    ];
  }
}

/** A shell that waits has a child with the same environment. */
function mostCopiesOf({ name }) {
  return name === 'deaf' ? 2 : 1;
}

/** Each start of the program has left a line. */
function startsIn(file) {
  try {
    return readFileSync(file, 'utf8').split('\n').length - 1;
  } catch (error) {
    if (error.code === 'ENOENT') return 0;
    throw error;
  }
}

module.exports = { startsIn, Traffic };
