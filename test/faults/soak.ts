/**
 * Random faults and random users for a long time, over workloads of all kinds. Every minute everything comes to rest, and the
 * whole history so far is judged.
 */
import { DEFAULT_POLICY, judge, wrongsOf } from './checker';
import { nowMs } from './clock';
import type { Scenario } from './scenario';
import { submitMix } from './scenarios/workloads';
import type { Undo, World } from './world';

const MINUTE_MS = 60_000;
/** Of the faults of nodes at a time, so that now and then all of them are gone. */
const MOST_NODES_FAILED = [1, 1, 1, 2, 2, 4];
const MOST_WORKLOADS = 12;
const STALL_MS = 1_500;

export const soak: Scenario = {
  name: 'soak',
  says: 'whatever befalls a cluster and its network, the guarantees hold',
  nodes: 4,
  rounds: { whole: 60, short: 1 },
  hindrances: () => ({ scheduler: { preloads: ['stall'], env: { MORCH_FAULT_STALL_MS: String(STALL_MS) } } }),
  async run(world) {
    await submitMix(world, { replicas: 4 });
    await world.submit({ id: 'logd', kind: 'daemon', everyMs: 50 });
    for (let minute = 1; minute <= world.options.rounds; ++minute) {
      await harmForAMinute(world, minute);
      await world.settle();
      const { verdictWithinMs } = world.times;
      const wrongs = wrongsOf(judge(await world.finalHistory(), { ...DEFAULT_POLICY, verdictWithinMs }));
      if (wrongs.length > 0) throw new Error(`after ${minute} minutes: ${wrongs.join('; ')}`);
      console.log(`        ${minute} of ${world.options.rounds} minutes: nothing found`);
    }
  },
};

interface OpenFault {
  /** Null: the scheduler's. */
  node: string | null;
  untilMs: number;
  undo: Undo;
}

async function harmForAMinute(world: World, minute: number): Promise<void> {
  const { random } = world;
  const endMs = nowMs() + MINUTE_MS;
  const open: OpenFault[] = [];
  const most = random.pick(MOST_NODES_FAILED);
  /** What a user asks for goes on while everything else does. */
  let asked: Promise<void> = Promise.resolve();
  let asking = false;
  for (let step = 0; nowMs() < endMs; ++step) {
    for (const fault of open.filter(({ untilMs }) => untilMs <= nowMs())) {
      open.splice(open.indexOf(fault), 1);
      await fault.undo();
    }
    const whole = world.names.filter((name) => !open.some(({ node }) => node === name));
    const failed = world.names.length - whole.length;
    if (random.next() < 0.3 && failed < most) {
      const node = random.pick(whole);
      open.push({ node, untilMs: nowMs() + durationMs(world), undo: await failNode(world, node) });
    } else if (random.next() < 0.08 && !open.some(({ node }) => node === null)) {
      open.push({ node: null, untilMs: nowMs() + random.between(100, 8_000), undo: await failScheduler(world) });
    } else if (!asking) {
      asking = true;
      asked = use(world, `${minute}-${step}`).finally(() => {
        asking = false;
      });
      // It is waited for below; until then nobody listens to its failure.
      asked.catch(() => {});
    }
    await world.passed(random.between(100, 1_500));
  }
  for (const { undo } of open) await undo();
  await asked;
}

/** Moments, about as long as until the verdict, or longer than a lease. */
function durationMs({ random, times }: World): number {
  const longest = random.pick([times.briefMs, 1.2 * times.verdictMs, 2 * times.verdictMs, 16_000]);
  return random.between(50, Math.round(longest));
}

async function failNode(world: World, name: string): Promise<Undo> {
  switch (world.random.between(0, 8)) {
    case 0:
      return world.killAgent(name);
    case 1:
      return world.killNode(name);
    case 2:
    case 3:
      return world.hang(name);
    case 4:
      return world.cut(name);
    case 5:
      return world.cut(name, 'from');
    case 6:
      return world.cut(name, 'to');
    case 7:
      return world.cut(name, 'both', 'unreachable');
    default:
      return world.breakConnections(name);
  }
}

async function failScheduler(world: World): Promise<Undo> {
  switch (world.random.between(0, 2)) {
    case 0:
      return world.killScheduler({ preloads: ['stall'], env: { MORCH_FAULT_STALL_MS: String(STALL_MS) } });
    case 1:
      return world.pauseScheduler();
    default:
      await world.stallScheduler(STALL_MS);
      return async () => {};
  }
}

async function use(world: World, name: string): Promise<void> {
  const { random } = world;
  const services = world.wanted.filter(({ kind, workload }) => kind === 'service' && workload.startsWith('user-'));
  const which = random.between(0, 5);
  const onDisconnect = random.pick(['replace', 'stop', 'keep'] as const);
  if (which <= 1 && services.length < MOST_WORKLOADS)
    await world.submit({ id: `user-${name}`, replicas: random.between(1, 4), onDisconnect, everyMs: 50 });
  else if (which === 2)
    await world.submit({
      id: `job-${name}`,
      kind: 'batch',
      replicas: random.between(1, 3),
      onDisconnect,
      runMs: random.between(50, 15_000),
      everyMs: 50,
    });
  else if (which === 3 && services.length > 0) await world.scale(random.pick(services), random.between(0, 6));
  else if (which === 4) {
    const node = random.pick(world.names);
    await world.drain(node);
    await world.passed(random.between(0, 5_000));
    await world.uncordon(node);
  } else if (services.length > 0) await world.stop(random.pick(services));
}
