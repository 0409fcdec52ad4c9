/** What befalls the programs themselves. */
import { shimsOf } from '../../support/shims';
import { killAll } from '../processes';
import type { Scenario } from '../scenario';
import { submitMix, untilAllAlive } from './workloads';

const QUICK = { backoffMs: 50, maxBackoffMs: 400 };
const ATTEMPTS = 3;

export const programs: Scenario[] = [
  {
    name: 'crash-loop',
    says: 'programs that end as soon as they run are started again and again, one after the other, whoever is killed meanwhile',
    rounds: { whole: 6, short: 1 },
    async run(world) {
      const loop = await world.submit({
        id: 'loop',
        replicas: 6,
        runMs: 30,
        code: 1,
        everyMs: 10,
        expectation: 'anything',
        spec: { restart: QUICK },
      });
      const hopeless = await world.submit({
        id: 'hopeless',
        kind: 'batch',
        replicas: 2,
        runMs: 30,
        code: 1,
        everyMs: 10,
        expectation: 'anything',
        spec: { restart: { ...QUICK, attempts: ATTEMPTS } },
      });
      await world.untilWorkload('hopeless', ({ status }) => status === 'failed', 'it has failed');
      for (let round = 0; round < world.options.rounds; ++round) {
        await world.passed(2_000);
        const back = await (round % 2 === 0 ? world.killAgent(world.random.pick(world.names)) : world.killScheduler());
        await world.passed(world.random.between(0, 1_000));
        await back();
        await world.untilHealthy();
        const starts = world.traces(loop).length;
        await world.until(() => world.traces(loop).length >= starts + loop.instances.length, 'it goes on');
      }
      for (const instance of hopeless.instances) {
        const starts = world.traces(hopeless).filter((trace) => trace.instance === instance).length;
        if (starts !== ATTEMPTS) throw new Error(`${instance} was started ${starts} times, not ${ATTEMPTS}`);
      }
    },
  },
  {
    name: 'shims-killed',
    says: 'a run whose shim is killed is ended as a whole before it is started again',
    rounds: { whole: 6, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        killAll(shimsOf(world.agent(name).dataDir));
        world.say(`done: all shims of ${name} killed`);
        await untilAllAlive(world, mix);
        const back = await world.killAgent(name);
        killAll(shimsOf(world.agent(name).dataDir));
        world.say('done: and once more, with their agent');
        await back();
        await world.untilHealthy();
        await untilAllAlive(world, mix);
      }
    },
  },
];
