/** Wall clocks that are wrong: those of the parts alone, by libfaketime; never the machine's own. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Hindrance } from '../part';
import type { Scenario } from '../scenario';
import type { World } from '../world';
import { submitMix, untilAllAlive, untilMoved } from './workloads';

const PARTS = ['scheduler', 'n1', 'n2', 'n3'];
const HOUR_S = 3_600;

export const clocks: Scenario[] = [
  {
    name: 'wall-clocks',
    says: 'wall clocks that differ by an hour, and jump by one, decide nothing',
    reasonToSkip: () =>
      library() === null ? 'it needs libfaketime (Debian, Ubuntu: apt-get install libfaketime)' : null,
    rounds: { whole: 6, short: 1 },
    hindrances: (directory) => Object.fromEntries(PARTS.map((part) => [part, withClock(directory, part)])),
    async run(world) {
      world.clocksLie = true;
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        for (const part of PARTS) setClock(world, part, world.random.pick([-HOUR_S, 0, HOUR_S]));
        await world.passed(5_000);
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const goOn = world.hang(name);
        await world.passed(1_000);
        for (const part of PARTS) setClock(world, part, world.random.pick([-HOUR_S, 0, HOUR_S]));
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        setClock(world, name, world.random.pick([-HOUR_S, HOUR_S]));
        await goOn();
        await world.untilHealthy();
        await untilAllAlive(world, mix);
      }
    },
  },
];

function withClock(directory: string, part: string): Hindrance {
  const path = clockOf(directory, part);
  writeFileSync(path, '+0\n');
  return {
    env: {
      LD_PRELOAD: library() ?? '',
      FAKETIME_TIMESTAMP_FILE: path,
      FAKETIME_NO_CACHE: '1',
      DONT_FAKE_MONOTONIC: '1',
    },
  };
}

function setClock(world: World, part: string, aheadS: number): void {
  writeFileSync(clockOf(world.options.directory, part), `${aheadS < 0 ? '' : '+'}${aheadS}\n`);
  world.say(`the clock of ${part} is ${aheadS} s ahead`);
}

function clockOf(directory: string, part: string): string {
  return join(directory, `${part}.clock`);
}

/** Where Debian has it, below the name of the machine's architecture. */
function library(): string | null {
  const paths = readdirSync('/usr/lib').map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`);
  return paths.find((path) => existsSync(path)) ?? null;
}
