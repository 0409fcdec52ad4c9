/** What a scenario is, and all of them. */
import type { Hindrance } from './part';
import { agents } from './scenarios/agents';
import { clocks } from './scenarios/clocks';
import { disks } from './scenarios/disks';
import { network } from './scenarios/network';
import { nodes } from './scenarios/nodes';
import { programs } from './scenarios/programs';
import { records } from './scenarios/records';
import { schedulers } from './scenarios/schedulers';
import type { World, WorldOptions } from './world';

export interface Scenario {
  /** Unique; files and the command line name it. */
  name: string;
  /** What holds, as a sentence. */
  says: string;
  /** Three unless told otherwise. */
  nodes?: number;
  /** See WorldOptions. @param directory of the run */
  hindrances?: (directory: string) => Readonly<Record<string, Hindrance>>;
  flags?: WorldOptions['flags'];
  disks?: WorldOptions['disks'];
  /** @returns why it cannot be run here, or null */
  reasonToSkip?: () => string | null;
  /** How often it repeats what it is about, in `world.options.rounds`: in the whole suite, and in the short form. */
  rounds?: { whole: number; short: number };
  /** Part of the short form. */
  short?: boolean;
  /** Does harm and waits for what should come of it. Whatever it leaves undone is undone, and judged, by who has called it. */
  run(world: World): Promise<void>;
}

export const SCENARIOS: readonly Scenario[] = [
  ...programs,
  ...agents,
  ...nodes,
  ...network,
  ...schedulers,
  ...records,
  ...disks,
  ...clocks,
];
