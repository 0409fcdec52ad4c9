'use strict';
/**
 * A process of simulated agents, forked and told what to do by fleet.cjs over its channel: { id, act, ... } is answered with
 * { id, result } or { id, error }. It ends when the channel does.
 */
const { performance } = require('node:perf_hooks');
const { SimulatedAgent } = require('./agent.cjs');
const { CONTRACT_CHECKS, NO_CHECKS } = require('./checks.cjs');
const { Programs } = require('./programs.cjs');
const { Registration } = require('./registration.cjs');
const { Wheel } = require('./wheel.cjs');

const LOOK_EVERY_MS = 250;
const EXITS_EVERY_MS = 100;

const wheel = new Wheel();
const tally = {
  running: 0,
  starts: 0,
  startCalls: 0,
  stops: 0,
  refused: 0,
  probes: 0,
  heartbeats: 0,
  acks: 0,
  reports: 0,
  sessions: 0,
  misunderstood: 0,
  lastReportAtMs: 0,
};
/** By their number in the fleet. */
const agents = new Map();
let registration = null;
let behaviourOfAll = null;

const ACTS = {
  /** @param agents [{ number, name, host, port, labels }] */
  async start({ agents: wanted, behaviour, checked }) {
    behaviourOfAll = behaviour;
    const checks = checked ? CONTRACT_CHECKS : NO_CHECKS;
    const means = { wheel, tally, checks, behaviour, programs: new Programs(), systemText: systemText(behaviour) };
    for (const { number, ...one } of wanted) {
      const agent = new SimulatedAgent(one, means);
      agents.set(number, agent);
      await agent.listen();
    }
    startExits(behaviour);
  },

  /** From now on. */
  behave({ behaviour: changed }) {
    Object.assign(behaviourOfAll, changed);
  },

  join({ scheduler }) {
    registration = new Registration(scheduler, wheel);
    for (const agent of agents.values()) registration.add(agent);
    every(LOOK_EVERY_MS, () => {
      const nowMs = performance.now();
      for (const agent of agents.values()) if (agent.look(nowMs)) registration.add(agent);
    });
  },

  addresses: () => [...agents.values()].map(({ host, port, token }) => ({ host, port, token })),

  fail({ numbers, fault }) {
    for (const number of numbers) agents.get(number)?.fail(fault);
  },

  async heal({ numbers }) {
    for (const number of numbers) {
      const agent = agents.get(number);
      if (agent !== undefined && (await agent.heal())) registration.add(agent);
    }
  },

  counts: () => ({
    ...tally,
    agents: agents.size,
    connected: [...agents.values()].filter(({ hasScheduler }) => hasScheduler).length,
  }),

  /** [[name, [[instanceId, generation, run], ...]], ...] */
  live: () => [...agents.values()].map((agent) => [agent.name, agent.liveOnes()]),

  endRun: ({ instanceId, code }) => [...agents.values()].some((agent) => agent.endRun(instanceId, code)),
};

/** As measured by each node: the same on all, and made once. */
function systemText({ capacity, cpuPercent }) {
  return JSON.stringify({
    cpuPercent,
    memoryPercent: 10,
    loadAverage: [0.1, 0.1, 0.1],
    memoryTotalBytes: capacity.memoryBytes,
    memoryAvailableBytes: Math.floor(capacity.memoryBytes * 0.9),
    cpuCount: Math.ceil(capacity.cpuMillis / 1_000),
  });
}

function every(ms, act) {
  const again = () => {
    act();
    wheel.after(ms, again);
  };
  wheel.after(ms, again);
}

/** Of all that run, such a share ends by itself in each second, with code 1. */
function startExits(behaviour) {
  const all = [...agents.values()];
  let due = 0;
  every(EXITS_EVERY_MS, () => {
    due += tally.running * behaviour.exitRate * (EXITS_EVERY_MS / 1_000);
    for (; due >= 1; due -= 1) {
      const { instances, fault } = all[Math.floor(Math.random() * all.length)];
      if (fault !== null || instances.liveCount === 0) continue;
      let passedOver = Math.floor(Math.random() * instances.liveCount);
      for (const instance of instances.live()) {
        if (passedOver > 0) passedOver -= 1;
        else {
          instances.exit(instance, 1);
          break;
        }
      }
    }
  });
}

process.on('disconnect', () => process.exit(0));
process.on('message', ({ id, act, ...what }) => {
  Promise.resolve()
    .then(() => ACTS[act](what))
    .then((result) => process.send({ id, result }))
    .catch((error) => process.send({ id, error: error.stack }));
});
