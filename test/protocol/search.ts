/** Breadth first through every order in which things can happen, each world once; the first wrong one ends it. */
import { keyOf } from './model/key';
import { stepsOf, take } from './model/steps';
import type { World } from './model/world';

export interface Result {
  worlds: number;
  /** Greatest number of steps from the beginning. */
  depth: number;
  /** Null: nothing is wrong in any world within the bounds. */
  found: Counterexample | null;
  /** Every world that can be reached was looked at. */
  isComplete: boolean;
}

export interface Counterexample {
  wrong: string;
  /** The names of the steps that lead to it; as short as can be. */
  trace: string[];
}

/** What is wrong with a world, or null. */
export type Visit = (w: World, number: number) => string | null;

/** @param visit called for each world but the first, with its number */
export function search(start: World, worldsAtMost: number, visit: Visit = () => null): Result {
  const { stackTraceLimit } = Error;
  // Refusals are made by the hundred thousand, and nobody asks where.
  Error.stackTraceLimit = 0;
  try {
    return searchFrom(start, worldsAtMost, visit);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function searchFrom(start: World, worldsAtMost: number, visit: Visit): Result {
  const seen = new Set<number>([hashOf(keyOf(start))]);
  const paths = new Paths();
  let level: { world: World; number: number }[] = [{ world: start, number: 0 }];
  let depth = 0;
  while (level.length > 0) {
    const next: typeof level = [];
    for (const { world, number } of level) {
      for (const step of stepsOf(world)) {
        const reached = take(world, step);
        const hash = hashOf(keyOf(reached));
        if (seen.has(hash)) continue;
        seen.add(hash);
        const its = paths.add(number, step.name);
        const wrong = reached.history.wrong ?? visit(reached, its);
        if (wrong !== null) {
          const found = { wrong, trace: paths.to(its) };
          return { worlds: seen.size, depth: depth + 1, found, isComplete: false };
        }
        if (seen.size >= worldsAtMost) return { worlds: seen.size, depth, found: null, isComplete: false };
        next.push({ world: reached, number: its });
      }
    }
    if (next.length > 0) depth += 1;
    level = next;
  }
  return { worlds: seen.size, depth, found: null, isComplete: true };
}

/** How each world was first reached. */
class Paths {
  private readonly parents = [-1];
  private readonly steps = [0];
  private readonly names = [''];
  private readonly numbers = new Map<string, number>();

  /** @returns the number of the world that is reached from that one */
  add(from: number, name: string): number {
    let step = this.numbers.get(name);
    if (step === undefined) {
      step = this.names.push(name) - 1;
      this.numbers.set(name, step);
    }
    this.steps.push(step);
    return this.parents.push(from) - 1;
  }

  to(number: number): string[] {
    const trace: string[] = [];
    for (let at = number; at > 0; at = this.parents[at]!) trace.unshift(this.names[this.steps[at]!]!);
    return trace;
  }
}

// A look-up of a global is slow where jest runs this.
const { imul } = Math;

/** 53 bits of two multiplicative hashes: of a million keys, two are the same with a chance of one in 20,000. */
function hashOf(text: string): number {
  let a = 0x9e3779b9;
  let b = 0x85ebca6b;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    a = imul(a ^ code, 2_654_435_761);
    b = imul(b ^ code, 1_597_334_677);
  }
  a = imul(a ^ (a >>> 16), 2_246_822_507) ^ imul(b ^ (b >>> 13), 3_266_489_909);
  b = imul(b ^ (b >>> 16), 2_246_822_507) ^ imul(a ^ (a >>> 13), 3_266_489_909);
  return (b & 0x1f_ffff) * 0x1_0000_0000 + (a >>> 0);
}
