/** What goes wrong, and what users do. */
import { crash, wipe } from './agentEnds';
import { nodeGone } from './deciding';
import { closeAtAgent } from './session';
import { isAwake, isSchedulerAwake, isSteady, type Step } from './step';
import { dropConnection } from './telling';
import { NODES, type NodeId, recordsCopy, type World, without } from './world';

export function faultSteps(w: World): Step[] {
  const { faultsLeft, scheduler, setup } = w;
  if (faultsLeft === 0) return [];
  const steps: Step[] = [];
  for (const node of NODES) {
    if (!isSteady(w, node)) steps.push(...machineFaults(w, node), ...networkFaults(w, node));
  }
  if (scheduler.up) steps.push({ name: 'the scheduler crashes', fault: 'schedulerCrash', act: crashScheduler });
  if (isSchedulerAwake(w)) {
    const act = (next: World) => {
      next.scheduler.stalled = true;
    };
    steps.push({ name: 'the scheduler stands still', fault: 'schedulerStall', act });
    if (!scheduler.passDue) steps.push(...userSteps(w));
  }
  return steps.filter(({ fault }) => setup.faults.has(fault!));
}

function machineFaults(w: World, node: NodeId): Step[] {
  const { agent, frozen } = w.machines[node];
  const steps: Step[] = [];
  if (agent.up) {
    steps.push({ name: `the agent of ${node} is killed`, fault: 'agentCrash', act: (next) => crash(next, node) });
    const name = `the agent of ${node} is killed, and its state deleted`;
    steps.push({ name, fault: 'wipe', act: (next) => wipe(next, node) });
  }
  if (isAwake(w, node)) {
    const act = (next: World) => {
      next.machines[node].agent.stalled = true;
    };
    steps.push({ name: `the agent of ${node} stands still`, fault: 'agentStall', act });
  }
  if (!frozen) {
    const act = (next: World) => {
      next.machines[node].frozen = true;
    };
    steps.push({ name: `${node} stands still with all that is on it`, fault: 'freeze', act });
  }
  return steps;
}

function networkFaults(w: World, node: NodeId): Step[] {
  const steps: Step[] = [];
  if (!w.machines[node].cut) {
    const act = (next: World) => {
      next.machines[node].cut = true;
    };
    steps.push({ name: `${node} is cut off`, fault: 'cut', act });
  }
  for (const [index, connection] of w.connections.entries()) {
    if (connection.node === node) steps.push(...connectionFaults(w, index));
  }
  for (const [index, { node: to, kind, generation, state, awaited, isLate }] of w.calls.entries()) {
    if (to !== node) continue;
    if (!isLate && state !== 'held') {
      const what = state === 'coming' ? `the ${kind} of ${generation} to ${node}` : `the answer to it from ${node}`;
      const act = (next: World) => {
        next.calls[index]!.isLate = true;
      };
      steps.push({ name: `${what} is late`, fault: 'late', act });
    }
    if (awaited && isSchedulerAwake(w)) {
      const name = `the scheduler does not wait any longer for the answer of ${node} about the ${kind} of ${generation}`;
      steps.push({ name, fault: 'abandon', act: (next) => abandon(next, index) });
    }
  }
  return steps;
}

function connectionFaults(w: World, index: number): Step[] {
  const { id, node, schedulerOpen, agentOpen, toScheduler, toAgent, isEndLate } = w.connections[index]!;
  const steps: Step[] = [];
  const late = (what: string, act: Step['act']) => steps.push({ name: `${what} is late`, fault: 'late', act });
  if (toScheduler[0]?.isLate === undefined && toScheduler.length > 0) {
    late(`what ${node} says on connection ${id}`, (next) => {
      const connection = next.connections[index]!;
      connection.toScheduler = delayed(connection.toScheduler);
    });
  }
  if (toAgent[0]?.isLate === undefined && toAgent.length > 0) {
    late(`what is said to ${node} on connection ${id}`, (next) => {
      const connection = next.connections[index]!;
      connection.toAgent = delayed(connection.toAgent);
    });
  }
  if (schedulerOpen !== agentOpen && !isEndLate) {
    late(`the end of connection ${id}`, (next) => {
      next.connections[index]!.isEndLate = true;
    });
  }
  if (schedulerOpen && agentOpen) {
    steps.push({
      name: `connection ${id} breaks; the scheduler sees it first`,
      fault: 'break',
      act: (next) => dropConnection(next, node),
    });
    steps.push({
      name: `connection ${id} breaks; ${node} sees it first`,
      fault: 'break',
      act: (next) => closeAtAgent(next, next.connections[index]!),
    });
  }
  return steps;
}

function delayed<T>([first, ...others]: readonly T[]): readonly T[] {
  return [{ ...first!, isLate: true }, ...others];
}

function userSteps(w: World): Step[] {
  const { goal, nodes } = w.scheduler.records;
  const steps: Step[] = [];
  if (goal === 'run') {
    const act = (next: World) => {
      next.scheduler.records.goal = 'stop';
      next.scheduler.passDue = true;
    };
    steps.push({ name: 'a user stops it', fault: 'stop', act });
  }
  for (const node of NODES) {
    if (!nodes[node].known || isSteady(w, node)) continue;
    steps.push({ name: `a user has ${node} forgotten`, fault: 'forget', act: (next) => forgetNode(next, node) });
  }
  return steps;
}

function forgetNode(w: World, node: NodeId): void {
  dropConnection(w, node);
  nodeGone(w, node);
  w.scheduler.records.nodes[node].known = false;
}

/** What becomes of the command is not known. It is said again. */
function abandon(w: World, index: number): void {
  const call = w.calls[index]!;
  const memory = w.scheduler.nodes[call.node];
  call.awaited = false;
  if (call.state !== 'coming') w.calls = without(w.calls, call);
  const sent = call.kind === 'start' ? 'sentStarts' : 'sentStops';
  memory[sent] = without(memory[sent], call.generation);
  w.scheduler.passDue = true;
}

/** What it has not stored is gone; what it has sent is still on its way. */
function crashScheduler(w: World): void {
  const { scheduler } = w;
  scheduler.up = false;
  scheduler.stalled = false;
  scheduler.passDue = false;
  scheduler.fenceEndsAt = null;
  scheduler.records = recordsCopy(scheduler.stored);
  for (const node of NODES) {
    dropConnection(w, node);
    Object.assign(scheduler.nodes[node], {
      lastContactAt: 0,
      leaseEndsAt: 0,
      stale: [],
      sentStarts: [],
      sentStops: [],
      unanswered: [],
      toForget: [],
      heardSinceConnect: false,
    });
  }
  w.calls = w.calls.filter(({ state }) => state === 'coming');
  for (const call of w.calls) call.awaited = false;
}
