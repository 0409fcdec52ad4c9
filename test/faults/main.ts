/**
 * The command line of the fault suite, inside its namespaces; run.cjs is its entry.
 *
 *   --scenario NAME   only this one; may be repeated
 *   --runs N          each so many times, with seeds that rise by one (default 1)
 *   --seed S          the first seed (default: random); with it and the scenario, its choices are the same again
 *   --rounds N        how often a scenario repeats what it is about
 *   --short           the short form, as in npm test
 *   --profile NAME    how fast the scheduler sees failures: default, or fast
 *   --soak            random faults, and only that; --minutes N (default 60)
 *   --verbose         transcripts as they go, not only of what failed
 *   --list            what there is
 */
import { randomInt } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { tableOf } from './report';
import { SCENARIOS, type Scenario } from './scenario';
import { soak } from './soak';
import { findingsOf, isGood, type RunResult, runScenario } from './suite';
import { PROFILES, type Profile } from './world';

const EXIT_USAGE = 2;

/** @param outerPid of the program that has made the namespaces; directories are named after it */
export async function main(argv: string[], outerPid: number): Promise<void> {
  process.on('SIGINT', () => {
    console.error('interrupted');
    process.exit(130);
  });
  const { values } = parseArgs({
    args: argv,
    options: {
      scenario: { type: 'string', multiple: true, default: [] },
      runs: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(randomInt(1_000_000)) },
      rounds: { type: 'string' },
      short: { type: 'boolean', default: false },
      profile: { type: 'string', default: 'default' },
      soak: { type: 'boolean', default: false },
      minutes: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
    },
  });
  const known = (name: string): boolean => SCENARIOS.some((scenario) => scenario.name === name);
  const unknown = values.scenario.filter((name) => !known(name));
  if (unknown.length > 0 || !isProfile(values.profile)) {
    console.error(
      `there is no ${[...unknown, ...(isProfile(values.profile) ? [] : [values.profile])].join(', ')}; --list tells what scenarios there are`,
    );
    process.exit(EXIT_USAGE);
  }
  const all = values.soak ? [soak] : SCENARIOS;
  const chosen = all.filter(({ name, short }) =>
    values.scenario.length > 0 ? values.scenario.includes(name) : !values.short || short === true,
  );
  if (values.list) {
    for (const { name, says, short } of chosen) console.log(`${name.padEnd(36)}${short ? '*' : ' '} ${says}`);
    return;
  }
  const directory = join(tmpdir(), `morch-faults-${outerPid}`);
  mkdirSync(directory);
  const results: RunResult[] = [];
  for (const scenario of chosen) {
    const reason = scenario.reasonToSkip?.() ?? null;
    if (reason !== null) {
      console.log(`skipped ${scenario.name}: ${reason}`);
      continue;
    }
    for (let run = 0; run < Number(values.runs); ++run) {
      const result = await runScenario(scenario, {
        directory,
        seed: Number(values.seed) + run,
        rounds: Number(values.rounds ?? values.minutes ?? roundsOf(scenario, values.short)),
        profile: values.profile,
        verbose: values.verbose,
      });
      tell(result, values.verbose);
      results.push(result);
    }
  }
  console.log(`\n${tableOf(results)}`);
  const good = results.every(isGood);
  if (good) rmSync(directory, { recursive: true, force: true });
  process.exit(good ? 0 : 1);
}

function isProfile(name: string): name is Profile {
  return Object.hasOwn(PROFILES, name);
}

function roundsOf({ rounds }: Scenario, short: boolean): number {
  return rounds === undefined ? 1 : short ? rounds.short : rounds.whole;
}

function tell(result: RunResult, verbose: boolean): void {
  const { scenario, seed, tookMs, transcript, directory } = result;
  const what = `${scenario} --seed ${seed}: ${(tookMs / 1e3).toFixed(1)} s`;
  if (isGood(result)) {
    console.log(`ok      ${what}`);
    return;
  }
  if (!verbose) console.log(transcript.join('\n'));
  for (const finding of findingsOf(result)) console.log(`        ${finding}`);
  console.log(`FAILED  ${what}; its files are in ${directory} for an hour`);
}
