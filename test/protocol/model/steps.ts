/** All that can happen in a world. */
import { doingSteps, dropDeadCalls, hearingSteps } from './agent';
import { faultSteps } from './faults';
import { timeStep } from './passing';
import { revivalSteps } from './revival';
import { schedulerSteps } from './scheduler';
import { isAlive, shimSteps } from './shim';
import { isSchedulerAwake, type Step } from './step';
import { copyOf, NODES, type World } from './world';

/**
 * Everything that goes on when nothing more goes wrong, time apart. Where only one order is looked at it is this: whoever
 * guards against something is later than what it guards against.
 */
export function ordinarySteps(w: World): Step[] {
  return [...hearingSteps(w), ...schedulerSteps(w), ...revivalSteps(w), ...doingSteps(w), ...shimSteps(w)];
}

export function stepsOf(w: World): Step[] {
  if (isOver(w)) return [];
  // A pass changes nothing for anybody else but by what it sends: nothing need come before it, a crash apart.
  if (w.scheduler.passDue && isSchedulerAwake(w))
    return [...schedulerSteps(w), ...faultSteps(w).filter(({ fault }) => fault === 'schedulerCrash')];
  const ordinary = ordinarySteps(w);
  // A steady node does at once what it can, so that only what happens elsewhere branches.
  const atOnce = ordinary.find(({ node }) => node !== undefined && node === w.setup.steady);
  if (atOnce !== undefined) return [atOnce];
  const due = ordinary.filter(({ isDue }) => isDue);
  const time = due.length > 0 ? null : timeStep(w);
  const free = ordinary.filter(({ isDue }) => !isDue);
  const now = w.setup.orders === 'one' ? due.slice(0, 1) : due;
  return [...now, ...free, ...faultSteps(w), ...(time === null ? [] : [time])];
}

/** Nothing is executed any more, whatever comes: what follows is not of interest. */
export function isOver(w: World): boolean {
  const { machines, calls, setup, scheduler, faultsLeft } = w;
  const { instance, goal } = scheduler.records;
  const isAtRest = instance.status === 'running' && instance.node === setup.steady;
  const isPlacedNoMore =
    instance.generation === setup.generationsAtMost && (instance.node === null || instance.rev >= 0);
  const mayRun = NODES.some(
    (node) =>
      node !== setup.steady &&
      (machines[node].copies.some(isAlive) || machines[node].agent.known.some(({ stage }) => stage !== 'ended')),
  );
  const isToBeStopped = goal === 'stop' || (faultsLeft > 0 && setup.faults.has('stop'));
  return (isAtRest || isPlacedNoMore) && !mayRun && !isToBeStopped && calls.every(({ kind }) => kind !== 'start');
}

export function take(w: World, { act, fault }: Step): World {
  const next = copyOf(w);
  if (fault !== undefined) next.faultsLeft -= 1;
  act(next);
  dropDeadCalls(next);
  return next;
}
