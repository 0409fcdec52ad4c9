/** Where every search begins: a scheduler that has just met both agents, and an instance that waits for its place. */
import { connect } from './model/revival';
import { PRODUCT, type Rules } from './model/rules';
import { ordinarySteps, take } from './model/steps';
import type { Pace } from './model/time';
import { copyOf, type Fault, type Machine, type NodeMemory, type Setup, type World } from './model/world';

export interface Plan {
  onDisconnect: Setup['onDisconnect'];
  /** What may happen beside the ordinary. */
  faults: readonly Fault[];
  /** How often, all in all. */
  times: number;
  rules?: Partial<Rules>;
  graceMs?: number;
  /** Of node A; B's clock is the scheduler's. */
  pace?: Pace;
  /** Both nodes may have all faults; else B has none. */
  both?: boolean;
  /** There is no node B. */
  alone?: boolean;
  orders?: Setup['orders'];
  generations?: number;
  runs?: number;
}

export function beginningOf(plan: Plan): World {
  const {
    onDisconnect,
    faults,
    times,
    rules,
    graceMs = 0,
    pace = 100,
    both = false,
    alone = false,
    orders = 'one',
  } = plan;
  const { generations = 2, runs = 1 } = plan;
  const setup: Setup = {
    faults: new Set(faults),
    onDisconnect,
    graceMs,
    paces: { A: pace, B: 100 },
    steady: both ? null : 'B',
    orders,
    alone,
    generationsAtMost: generations,
    runsAtMost: runs,
    rules: { ...PRODUCT, ...rules },
  };
  const records = {
    goal: 'run' as const,
    instance: {
      generation: 0,
      run: 0,
      rev: -1,
      status: 'pending' as const,
      node: null,
      lingersOn: null,
      onDisconnect: 'replace' as const,
      fenced: false,
    },
    nodes: { A: { known: true, key: 0, lost: false }, B: { known: !alone, key: 0, lost: false } },
    takenOff: [],
  };
  let w: World = {
    setup,
    now: 0,
    scheduler: {
      up: true,
      stalled: false,
      epoch: 1,
      lastSession: 0,
      stored: structuredClone(records),
      records,
      passDue: false,
      fenceEndsAt: null,
      nodes: { A: unheard(), B: unheard() },
    },
    machines: { A: machine(), B: machine() },
    connections: [],
    connectionsMade: 0,
    calls: [],
    faultsLeft: times,
    history: { executed: [], places: {}, nodeGone: false, wrong: null },
  };
  w = copyOf(w);
  connect(w, 'A');
  if (alone) w.machines.B.agent.up = false;
  else connect(w, 'B');
  for (;;) {
    w.scheduler.passDue = false;
    const step = ordinarySteps(w).find(({ isDue }) => isDue);
    if (step === undefined) break;
    w = take(w, step);
  }
  w.scheduler.passDue = true;
  return w;
}

function unheard(): NodeMemory {
  return {
    connection: null,
    session: null,
    lastContactAt: 0,
    leaseEndsAt: 0,
    stale: [],
    sentStarts: [],
    sentStops: [],
    unanswered: [],
    toForget: [],
    heardSinceConnect: false,
  };
}

function machine(): Machine {
  return {
    frozen: false,
    cut: false,
    agent: { up: true, stalled: false, key: 0, epoch: 0, latest: null, isPresent: false, sentAt: 0, known: [] },
    page: { endsAt: 0, term: 0 },
    copies: [],
  };
}
