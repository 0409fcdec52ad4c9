/**
 * Copies of the instance and their shims: what agent/native/shim/lease.cc and stop.cc do with them. A shim acts on time as
 * long as its machine does not stand still; what it kills is dead within the kill budget.
 */
import { isSteady, type Step } from './step';
import { KILL_BUDGET_MS, LOOK_EVERY_MS } from './time';
import { type Copy, failed, type Known, NODES, type NodeId, type World } from './world';

/** Short of the product's as the lease is. */
const LONGEST_FENCED_GRACE_MS = 1_000;

export function isAlive(copy: Copy): boolean {
  return !copy.gone;
}

export function findCopy(w: World, node: NodeId, generation: number, run: number): Copy | undefined {
  return w.machines[node].copies.find((copy) => copy.generation === generation && copy.run === run);
}

/**
 * A shim that has read its plan. Before it starts the program it asks once more whether that may be: its agent may have
 * stood still since it asked itself.
 *
 * @returns whether the program was started
 */
export function execute(w: World, node: NodeId, { generation, run, leaseTerm, startUntil }: Known): boolean {
  const copy: Copy = {
    generation,
    run,
    leaseTerm,
    ownPage: null,
    looksAt: w.setup.onDisconnect === 'stop' ? w.now : null,
    goneBy: null,
    fenced: false,
    overslept: false,
    gone: false,
  };
  if (w.setup.rules.looksFirst) {
    look(w, node, copy);
    if (copy.goneBy !== null || (run === 1 && w.now >= startUntil)) return false;
  }
  w.machines[node].copies.push(copy);
  recordExecution(w, node, generation, run);
  return true;
}

/** The stop signal now, SIGKILL when the grace is over. Repeating it can only hasten the end. */
export function stopCopy(w: World, node: NodeId, copy: Copy, graceMs: number): void {
  const goneBy = w.now + (graceMs + KILL_BUDGET_MS) * w.setup.paces[node];
  copy.goneBy = Math.min(copy.goneBy ?? Number.POSITIVE_INFINITY, goneBy);
}

/** The lease that a copy lives under ends at its end; another term is another lease, with a gap before it. */
function look(w: World, node: NodeId, copy: Copy): void {
  const { rules, graceMs, paces } = w.setup;
  if (copy.looksAt === null) return;
  const page = copy.ownPage ?? w.machines[node].page;
  const pace = paces[node];
  if (page.endsAt === 0) {
    copy.looksAt = w.now + LOOK_EVERY_MS * pace;
    return;
  }
  const isOther = rules.goesByTerm && page.term !== copy.leaseTerm;
  const stopAt = page.endsAt - Math.min(graceMs, LONGEST_FENCED_GRACE_MS) * pace;
  if (!isOther && w.now < stopAt) {
    copy.looksAt = stopAt;
    return;
  }
  copy.fenced ||= copy.goneBy === null;
  copy.looksAt = null;
  const killAt = isOther ? w.now : Math.max(page.endsAt, w.now);
  copy.goneBy = Math.min(copy.goneBy ?? Number.POSITIVE_INFINITY, killAt + KILL_BUDGET_MS * pace);
}

function recordExecution(w: World, node: NodeId, generation: number, run: number): void {
  const { history, scheduler, setup } = w;
  const name = `${generation}.${run}`;
  if (history.executed.includes(name)) failed(w, `run ${name} is executed twice`);
  history.executed = [...history.executed, name];
  if (history.places[generation] !== node)
    failed(w, `generation ${generation} is executed on ${node}, where it was not placed`);
  const { goal, instance } = scheduler.stored;
  if (run === 1 && scheduler.records.takenOff.includes(generation)) {
    failed(w, `generation ${generation} is started on ${node} after the verdict`);
  }
  if (run === 1 && generation < instance.generation && !history.nodeGone) {
    failed(w, `generation ${generation} is started when a later one has been placed`);
  }
  const isStopped = goal === 'stop' && instance.status === 'stopped' && instance.generation === generation;
  if (isStopped && (setup.onDisconnect === 'stop' || !history.nodeGone)) {
    failed(w, `generation ${generation} is started after its stop was confirmed`);
  }
}

export function shimSteps(w: World): Step[] {
  return NODES.flatMap((node) => {
    const { copies, frozen } = w.machines[node];
    if (frozen) return [];
    return copies.flatMap((copy, index) => (copy.gone ? [] : stepsOfCopy(w, node, copy, index)));
  });
}

function stepsOfCopy(w: World, node: NodeId, copy: Copy, index: number): Step[] {
  const { generation, run, looksAt, goneBy } = copy;
  const name = `${generation}.${run} on ${node}`;
  const steps: Step[] = [];
  if (looksAt !== null && looksAt <= w.now) {
    steps.push({
      name: `the shim of ${name} looks at the lease page`,
      node,
      isDue: true,
      act: (next) => look(next, node, next.machines[node].copies[index]!),
    });
  }
  // It may end at any time within its grace; steady nodes do so at once.
  if (goneBy !== null) {
    steps.push({ name: `${name} is dead`, node, isDue: goneBy <= w.now, act: (next) => end(next, node, index) });
  } else if (mayExit(w, run) && !isSteady(w, node)) {
    steps.push({
      name: `${name} ends by itself`,
      node,
      fault: 'exit',
      act: (next) => end(next, node, index),
    });
  }
  return steps;
}

function mayExit({ faultsLeft, setup }: World, run: number): boolean {
  return faultsLeft > 0 && setup.faults.has('exit') && run < setup.runsAtMost;
}

function end(w: World, node: NodeId, index: number): void {
  const copy = w.machines[node].copies[index]!;
  copy.gone = true;
  copy.looksAt = null;
  copy.goneBy = null;
}

/** Live and not standing still. */
export function executingCopies(w: World): { node: NodeId; copy: Copy }[] {
  return NODES.flatMap((node) => {
    const { frozen, copies } = w.machines[node];
    return frozen ? [] : copies.filter(isAlive).map((copy) => ({ node, copy }));
  });
}
