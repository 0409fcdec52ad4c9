/** How things get going again: what has crashed is started, what stood still goes on, what has parted meets again. */
import { reportOf } from './agent';
import { mayRestart, restart } from './agentEnds';
import { nodeGone } from './deciding';
import { isAwake, isSchedulerAwake, isTick, type Step } from './step';
import { MS, POLICY } from './time';
import { NODES, type NodeId, type World } from './world';

/** Connections to one node that either end still holds. */
const CONNECTIONS_AT_ONCE = 2;

export function revivalSteps(w: World): Step[] {
  const { scheduler } = w;
  const steps: Step[] = [];
  if (!scheduler.up && isTick(w)) steps.push({ name: 'a scheduler starts', act: startScheduler });
  if (scheduler.stalled) {
    const act = (next: World) => {
      next.scheduler.stalled = false;
    };
    steps.push({ name: 'the scheduler goes on', act });
  }
  for (const node of NODES) steps.push(...revivalsOf(w, node));
  return steps;
}

function revivalsOf(w: World, node: NodeId): Step[] {
  const { frozen, cut, agent } = w.machines[node];
  const steps: Step[] = [];
  if (frozen) steps.push({ name: `${node} goes on`, act: (next) => thaw(next, node) });
  if (agent.stalled) {
    const act = (next: World) => {
      next.machines[node].agent.stalled = false;
    };
    steps.push({ name: `the agent of ${node} goes on`, act });
  }
  if (cut) {
    const act = (next: World) => {
      next.machines[node].cut = false;
    };
    steps.push({ name: `${node} is no longer cut off`, act });
  }
  if (mayRestart(w, node)) steps.push({ name: `an agent starts on ${node}`, node, act: (next) => restart(next, node) });
  if (mayConnect(w, node)) {
    const act = (next: World) => connect(next, node);
    steps.push({ name: `the scheduler connects to ${node}`, node, isDue: true, act });
  }
  const joining = joinOf(w, node);
  if (joining !== null) {
    steps.push({ name: `the agent of ${node} ${joining}`, isDue: true, act: (next) => join(next, node) });
  }
  return steps;
}

function startScheduler(w: World): void {
  const { scheduler, setup } = w;
  scheduler.up = true;
  scheduler.epoch += 1;
  scheduler.lastSession = 0;
  const leaseEndsAt = setup.rules.renewsLeasesAtStart ? w.now + POLICY.leaseMs * MS : 0;
  for (const node of NODES) Object.assign(scheduler.nodes[node], { leaseEndsAt, lastContactAt: w.now });
  const { instance } = scheduler.records;
  if (instance.fenced)
    scheduler.fenceEndsAt = Math.round(setup.rules.fenceEndsMs(leaseEndsAt / MS, POLICY.leaseMs) * MS);
  scheduler.passDue = true;
}

function thaw(w: World, node: NodeId): void {
  const machine = w.machines[node];
  machine.frozen = false;
  for (const copy of machine.copies) {
    const { endsAt } = copy.ownPage ?? machine.page;
    if (!copy.gone && w.setup.onDisconnect === 'stop' && endsAt <= w.now) copy.overslept = true;
  }
}

function canMeet(w: World, node: NodeId): boolean {
  return isTick(w) && isAwake(w, node) && isSchedulerAwake(w) && !w.scheduler.passDue && !w.machines[node].cut;
}

function mayConnect(w: World, node: NodeId): boolean {
  const { scheduler, machines } = w;
  const { agent } = machines[node];
  const { known, key } = scheduler.records.nodes[node];
  const isItself = known && agent.key === key && agent.epoch <= scheduler.epoch;
  const open = w.connections.filter((connection) => connection.node === node).length;
  return canMeet(w, node) && isItself && scheduler.nodes[node].connection === null && open < CONNECTIONS_AT_ONCE;
}

/** It is let in, and says first what it holds. */
export function connect(w: World, node: NodeId): void {
  const { scheduler } = w;
  const { agent } = w.machines[node];
  const id = w.connectionsMade;
  w.connectionsMade += 1;
  agent.epoch = scheduler.epoch;
  w.connections.push({
    id,
    node,
    epoch: scheduler.epoch,
    schedulerOpen: true,
    agentOpen: true,
    toScheduler: [{ kind: 'hello', sentAt: w.now, reports: agent.known.map(reportOf) }],
    toAgent: [],
    isEndLate: false,
  });
  scheduler.nodes[node].connection = id;
  scheduler.nodes[node].heardSinceConnect = false;
}

/** What an agent asks for whose node the scheduler does not know, or knows as another's; null: nothing. */
function joinOf(w: World, node: NodeId): string | null {
  if (!canMeet(w, node)) return null;
  const { known, key, lost } = w.scheduler.records.nodes[node];
  if (!known) return 'joins';
  return w.machines[node].agent.key !== key && lost ? 'takes the name over' : null;
}

function join(w: World, node: NodeId): void {
  const { scheduler } = w;
  const record = scheduler.records.nodes[node];
  if (record.known) nodeGone(w, node);
  else {
    Object.assign(scheduler.nodes[node], { leaseEndsAt: 0, lastContactAt: w.now, stale: [], toForget: [] });
    record.lost = false;
  }
  record.known = true;
  record.key = w.machines[node].agent.key;
  scheduler.passDue = true;
}
