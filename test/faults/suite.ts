/** Runs a scenario once, in a world of its own, and has it judged. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_POLICY, type Judgement, judge, wrongsOf } from './checker';
import { nowMs } from './clock';
import { Random } from './random';
import type { Scenario } from './scenario';
import { PROFILES, type Profile, World } from './world';

export interface RunOptions {
  /** For all runs; each has one of its own in it, which is kept when something was found. */
  directory: string;
  seed: number;
  rounds: number;
  profile: Profile;
  verbose: boolean;
}

export interface RunResult {
  scenario: string;
  seed: number;
  judgement: Judgement | null;
  /** Processes that were there when everything had been stopped. */
  leftOver: string[];
  /** What went wrong otherwise: something did not come, or a program failed. */
  error: string | null;
  transcript: string[];
  tookMs: number;
  /** Null when it has been removed. */
  directory: string | null;
}

export async function runScenario(scenario: Scenario, options: RunOptions): Promise<RunResult> {
  const { seed, rounds, profile, verbose } = options;
  const { verdictWithinMs } = PROFILES[profile];
  const directory = join(options.directory, `${scenario.name}-${seed}`);
  mkdirSync(directory, { recursive: true });
  const originMs = nowMs();
  const transcript: string[] = [];
  const say = (text: string): void => {
    const line = `${((nowMs() - originMs) / 1e3).toFixed(3).padStart(9)}  ${text}`;
    transcript.push(line);
    if (verbose) console.log(line);
  };
  const world = new World({
    directory,
    nodes: scenario.nodes ?? 3,
    random: new Random(seed),
    rounds,
    profile,
    say,
    hindrances: scenario.hindrances?.(directory) ?? {},
    disks: scenario.disks ?? {},
    ...(scenario.flags === undefined ? {} : { flags: scenario.flags }),
  });
  const result: RunResult = {
    scenario: scenario.name,
    seed,
    judgement: null,
    leftOver: [],
    error: null,
    transcript,
    tookMs: 0,
    directory,
  };
  try {
    await world.start();
    say('all nodes are healthy');
    result.error = await errorOf(() => scenario.run(world));
    result.error ??= await errorOf(() => world.settle());
    if (result.error === null) say('all is at rest');
    else say(`FAILED: ${result.error}`);
    result.judgement = judge(await world.finalHistory(), { ...DEFAULT_POLICY, verdictWithinMs });
    // What has gone wrong already would only go wrong once more.
    if (result.error === null) result.leftOver = await world.stopAll();
  } catch (error) {
    result.error ??= messageOf(error);
  } finally {
    const closing = await errorOf(() => world.close());
    result.error ??= closing;
  }
  result.tookMs = nowMs() - originMs;
  for (const finding of findingsOf(result)) say(finding);
  if (isGood(result)) {
    rmSync(directory, { recursive: true, force: true });
    result.directory = null;
  } else writeFileSync(join(directory, 'transcript'), `${transcript.join('\n')}\n`);
  return result;
}

/** All that is wrong, in words. */
export function findingsOf({ judgement, leftOver, error }: RunResult): string[] {
  return [
    ...(error === null ? [] : [`failed: ${error}`]),
    ...(judgement === null ? [] : wrongsOf(judgement)),
    ...leftOver.map((one) => `left over: ${one}`),
  ];
}

export function isGood(result: RunResult): boolean {
  return findingsOf(result).length === 0;
}

async function errorOf(action: () => Promise<void>): Promise<string | null> {
  try {
    await action();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
