/** The scheduler decides: verdicts, losses, fences, places, and what is to end. */
import { isTerminal, mayHoldProcess } from '../../../contract/states';
import { earliestVerdictMs } from '../../../scheduler/core/healthPolicy';
import { isUnwanted } from '../../../scheduler/core/intake';
import { afterVerdict, outlastLease } from '../../../scheduler/core/loss';
import { isUnplaced } from '../../../scheduler/core/model';
import { concluded, takeIn } from './observing';
import { recordOf, update, workloadOf } from './records';
import { dropConnection, dropQueue } from './telling';
import { MS, POLICY } from './time';
import type { NodeId, NodeMemory, World } from './world';

/** No sooner than this may a node be given up; whether and when is core/health's, see ../verdict.test.ts. */
export function verdictFrom({ lastContactAt }: NodeMemory): number {
  return lastContactAt + earliestVerdictMs(POLICY) * MS;
}

export function giveVerdict(w: World, node: NodeId): void {
  const { scheduler } = w;
  scheduler.records.nodes[node].lost = true;
  dropConnection(w, node);
  dropQueue(scheduler.nodes[node]);
  scheduler.nodes[node].stale = [];
  const { instance } = scheduler.records;
  if (instance.node === node && mayHoldProcess(instance.status)) {
    const { kind, patch } = afterVerdict(recordOf(instance), workloadOf(w), node, 0);
    if (patch.fenced) raiseFence(w, node);
    update(w, patch);
    if (kind === 'moves') scheduler.records.takenOff = [...scheduler.records.takenOff, instance.generation];
  }
  scheduler.passDue = true;
}

/** Its record goes, or is another agent's from now on. */
export function nodeGone(w: World, node: NodeId): void {
  const { scheduler, history, setup } = w;
  dropQueue(scheduler.nodes[node]);
  const { instance } = scheduler.records;
  if (instance.node === node && mayHoldProcess(instance.status)) {
    if (instance.onDisconnect === 'stop') {
      raiseFence(w, node);
      update(w, outlastLease(recordOf(instance), workloadOf(w), ''));
    } else takeIn(w, node, concluded(instance, 'failed', true));
  }
  if (instance.lingersOn === node) update(w, { lingersOn: null });
  history.nodeGone ||= setup.onDisconnect !== 'stop';
  scheduler.passDue = true;
}

function raiseFence({ scheduler, setup }: World, node: NodeId): void {
  const { leaseEndsAt } = scheduler.nodes[node];
  const endsAt = Math.round(setup.rules.fenceEndsMs(leaseEndsAt / MS, POLICY.leaseMs) * MS);
  scheduler.fenceEndsAt = Math.max(endsAt, scheduler.fenceEndsAt ?? 0);
}

export function endFence(w: World): void {
  w.scheduler.fenceEndsAt = null;
  update(w, { fenced: false });
  if (isUnwanted(recordOf(w.scheduler.records.instance), workloadOf(w))) update(w, { status: 'stopped' });
}

export function mayPlace(w: World, node: NodeId): boolean {
  const { records, nodes } = w.scheduler;
  const { instance, goal } = records;
  const { known, lost } = records.nodes[node];
  const { session, stale } = nodes[node];
  const isOpen = known && !lost && session !== null && stale.length === 0;
  // The first is placed on A, so that what happens to A is of interest.
  if (instance.generation === 0 && node !== 'A') return false;
  const mayMore = instance.generation < w.setup.generationsAtMost;
  return isOpen && mayMore && goal === 'run' && isUnplaced(recordOf(instance)) && !instance.fenced;
}

export function place(w: World, node: NodeId): void {
  const { instance } = w.scheduler.records;
  const generation = instance.generation + 1;
  update(w, {
    status: instance.status === 'recovering' ? 'recovering' : 'starting',
    generation,
    run: 0,
    rev: -1,
    node,
    lingersOn: null,
    onDisconnect: w.setup.onDisconnect,
  });
  w.history.places = { ...w.history.places, [generation]: node };
}

/** One step nearer to its end, for an instance that is not wanted any more: reconcile.ts. */
export function reconcile(w: World): void {
  const { instance, nodes } = w.scheduler.records;
  if (!isUnwanted(recordOf(instance), workloadOf(w)) || isTerminal(instance.status)) return;
  if (instance.node !== null) {
    if (!nodes[instance.node].known) update(w, { status: 'stopped' });
    else if (instance.status !== 'stopping') update(w, { status: 'stopping' });
    return;
  }
  const lostNode = instance.lingersOn !== null && nodes[instance.lingersOn].known ? instance.lingersOn : null;
  const mayLive = instance.onDisconnect === 'stop' ? instance.fenced : lostNode !== null && nodes[lostNode].lost;
  if (!mayLive) update(w, { status: 'stopped' });
  else if (lostNode !== null) update(w, { status: 'stopping', node: lostNode, lingersOn: null });
  else if (instance.status !== 'stopping') update(w, { status: 'stopping' });
}
