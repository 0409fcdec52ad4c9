/**
 * The scheduler: observe, decide, persist, act, as scheduler/controlLoop.ts does it. What a report means, what a loss means,
 * when a fence is over and which commands are awaited are the product's own functions. Like an agent it may be as slow as it
 * likes between two steps; whether it is stopped or stands still makes no difference.
 */
import { endFence, giveVerdict, mayPlace, place, reconcile, verdictFrom } from './deciding';
import { checkConfirmedStop } from './invariants';
import { hear, hearAnswer, hearHeartbeat, mayBeat } from './observing';
import { isSchedulerAwake, isSteady, isTick, type Step } from './step';
import { connectionOf, dropConnection, forgetEnded, offer } from './telling';
import { type Connection, NODES, type NodeId, recordsCopy, type World } from './world';

/** Decided, then durable, and only then are the agents told. @param node where it is placed; null: nowhere, or not now */
function makePass(w: World, to: NodeId | null): void {
  const { scheduler, setup } = w;
  reconcile(w);
  if (to !== null) place(w, to);
  scheduler.passDue = false;
  if (setup.rules.storesFirst) store(w);
  for (const node of NODES) {
    forgetEnded(w, node);
    offer(w, node);
  }
}

function store(w: World): void {
  w.scheduler.stored = recordsCopy(w.scheduler.records);
  checkConfirmedStop(w);
}

function isUnstored({ scheduler: { stored, records } }: World): boolean {
  return JSON.stringify(stored) !== JSON.stringify(records);
}

export function schedulerSteps(w: World): Step[] {
  const { scheduler } = w;
  if (!isSchedulerAwake(w)) return [];
  if (scheduler.passDue) return passSteps(w);
  if (!w.setup.rules.storesFirst && isUnstored(w)) return [{ name: 'the scheduler stores its records', act: store }];
  const steps: Step[] = [];
  for (const node of NODES) steps.push(...nodeSteps(w, node));
  for (const [index, call] of w.calls.entries()) {
    const { node, kind, generation, answer } = call;
    if (call.state !== 'answered' || !call.awaited || w.machines[node].cut) continue;
    const name = `the scheduler hears from ${node} about the ${kind} of ${generation}: ${answer}`;
    steps.push({ name, node, isDue: !call.isLate, act: (next) => hearAnswer(next, next.calls[index]!) });
  }
  const { fenceEndsAt, records } = scheduler;
  if (fenceEndsAt !== null && w.now >= fenceEndsAt) {
    if (records.instance.fenced) steps.push({ name: 'the fence is over', isDue: true, act: endFence });
  }
  return steps;
}

/** Whatever waits for a place gets one if there is one; which one is left open. */
function passSteps(w: World): Step[] {
  const open = NODES.filter((node) => mayPlace(w, node));
  const to = open.length === 0 ? [null] : open;
  return to.map((node) => {
    const generation = w.scheduler.records.instance.generation + 1;
    const placed = node === null ? '' : `; generation ${generation} is placed on ${node}`;
    return { name: `the scheduler makes a pass${placed}`, act: (next: World) => makePass(next, node) };
  });
}

function nodeSteps(w: World, node: NodeId): Step[] {
  const { scheduler } = w;
  const memory = scheduler.nodes[node];
  const { known, lost } = scheduler.records.nodes[node];
  const connection = connectionOf(w, node);
  const steps = connection === undefined || w.machines[node].cut ? [] : connectionSteps(w, node, connection);
  if (known && !lost && !isSteady(w, node) && w.now >= verdictFrom(memory)) {
    steps.push({ name: `the verdict on ${node}`, act: (next) => giveVerdict(next, node) });
  }
  return steps;
}

function connectionSteps(w: World, node: NodeId, connection: Connection): Step[] {
  const { id, toScheduler, agentOpen, isEndLate } = connection;
  const [first] = toScheduler;
  const steps: Step[] = [];
  if (isTick(w) && mayBeat(w, connection)) {
    const name = `a heartbeat of ${node} is heard`;
    steps.push({ name, node, isDue: true, act: (next) => hearHeartbeat(next, connectionOf(next, node)!) });
  }
  if (first !== undefined && isTick(w)) {
    steps.push({
      name: `the scheduler hears from ${node} on connection ${id}: ${first.kind}`,
      node,
      isDue: !first.isLate,
      act: (next) => hear(next, connectionOf(next, node)!),
    });
  }
  if (!agentOpen) {
    steps.push({
      name: `the scheduler sees the end of connection ${id}`,
      node,
      isDue: first === undefined && !isEndLate,
      act: (next) => dropConnection(next, node),
    });
  }
  return steps;
}
