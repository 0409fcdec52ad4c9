/**
 * What becomes of a world in which nothing more goes wrong: what is down comes up, what is late arrives, each does what it can,
 * in turn. Then the instance must come to where its user wants it, with nothing beside it.
 */
import { keyOf } from './model/key';
import { timeStep } from './model/passing';
import { executingCopies, isAlive } from './model/shim';
import type { Step } from './model/step';
import { ordinarySteps, take } from './model/steps';
import { NODES, type World } from './model/world';

const STEPS_AT_MOST = 500;
/** So many more placements than in the search, which is bounded by them. */
const MORE_GENERATIONS = 3;

/** @returns finds what is left undone for ever; null: all comes to be as it should. Remembers what ended well. */
export function stuckFinder(): (w: World) => string | null {
  const endsWell = new Set<string>();
  return (w) => {
    const moments: string[] = [];
    const stuck = follow(w, (key) => {
      moments.push(key);
      return endsWell.has(key);
    });
    if (stuck === null) for (const key of moments) endsWell.add(key);
    return stuck;
  };
}

/** @param isKnown told of the world whenever time has gone on; true: it is known to end well */
function follow(w: World, isKnown: (key: string) => boolean): string | null {
  const setup = { ...w.setup, generationsAtMost: w.setup.generationsAtMost + MORE_GENERATIONS };
  // What waited for a place beyond the bound of the search gets one.
  let world: World = { ...w, setup, scheduler: { ...w.scheduler, passDue: w.scheduler.up } };
  let taken = new Map<string, number>();
  for (let count = 0; count < STEPS_AT_MOST; count++) {
    if (isAsWanted(world)) return null;
    const step = nextStep(world, taken);
    if (step === null) break;
    if (step.name.startsWith('time goes on')) taken = new Map();
    else taken.set(step.name, (taken.get(step.name) ?? 0) + 1);
    world = take(world, step);
    if (taken.size === 0 && isKnown(keyOf(world))) return null;
    if (world.history.wrong !== null) return world.history.wrong;
  }
  const { instance, goal } = world.scheduler.records;
  const live = executingCopies(world).map(({ node, copy }) => `${copy.generation}.${copy.run} on ${node}`);
  return `though nothing more goes wrong, it stays ${instance.status}, to ${goal}; alive: ${live.join(', ') || 'nothing'}`;
}

/** Each in turn; time goes on when nobody has anything to do at present. */
function nextStep(w: World, taken: ReadonlyMap<string, number>): Step | null {
  const steps = ordinarySteps(w).filter(({ fault, name }) => fault === undefined && !name.startsWith('the verdict'));
  const often = ({ name }: Step): number => taken.get(name) ?? 0;
  steps.sort((a, b) => often(a) - often(b));
  const [next] = steps;
  if (next !== undefined && often(next) < 3) return next;
  // Only of nodes that are not heard though all is well: their agents are others than the scheduler takes them for.
  const verdict = ordinarySteps(w).find(({ name }) => name.startsWith('the verdict'));
  return verdict ?? timeStep(w) ?? next ?? null;
}

function isAsWanted(w: World): boolean {
  const { scheduler, machines } = w;
  if (!scheduler.up || scheduler.passDue) return false;
  const { instance, goal } = scheduler.records;
  const live = NODES.flatMap((node) => machines[node].copies.filter(isAlive).map((copy) => ({ node, copy })));
  if (goal === 'stop') return instance.status === 'stopped' && live.length === 0;
  const [only] = live;
  return (
    instance.status === 'running' &&
    live.length === 1 &&
    only!.node === instance.node &&
    only!.copy.generation === instance.generation &&
    only!.copy.run === instance.run &&
    only!.copy.goneBy === null
  );
}
