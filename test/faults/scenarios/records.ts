/** What befalls the records of the scheduler while it does not run. */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { damageSomething } from '../damage';
import { morchOn } from '../part';
import type { Scenario } from '../scenario';
import type { World } from '../world';
import { expectSame, submitMix, untilAllAlive } from './workloads';

export const records: Scenario[] = [
  {
    name: 'scheduler-emptied',
    says: 'a scheduler that is started on an empty directory takes over what runs',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      const job = await world.submit({ id: 'job', kind: 'batch', replicas: 2, runMs: 120_000 });
      await world.untilAlive(job);
      for (let round = 0; round < world.options.rounds; ++round) {
        const before = world.living({ replaced: mix.replaced, kept: mix.kept });
        const seen = world.events.length;
        const fault = world.begin('records removed', null, { apart: true });
        const restart = await world.killScheduler();
        await rm(world.scheduler.dataDir, { recursive: true });
        await restart();
        await world.untilEvent('scheduler.rebuilt', undefined, seen);
        await world.untilHealthy();
        fault.end();
        await untilAllAlive(world, { ...mix, job });
        expectSame(before, world.living({ replaced: mix.replaced, kept: mix.kept }));
        const late = await world.submit({ id: `late-${round}`, replicas: 3 });
        await world.untilAlive(late);
      }
    },
  },
  {
    name: 'scheduler-restored',
    says: 'a scheduler on a copy of its directory from before takes over what was started since',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      const copy = join(world.options.directory, 'copy');
      for (let round = 0; round < world.options.rounds; ++round) {
        let restart = await world.killScheduler();
        await cp(world.scheduler.dataDir, copy, { recursive: true });
        await restart();
        await world.untilHealthy();
        const since = await world.submit({ id: `since-${round}`, replicas: 3 });
        await world.untilAlive(since);
        // Generations that the copy does not know of.
        const back = await world.killNode(world.random.pick(world.names), { plain: false });
        await world.passed(world.times.verdictMs + 1_000);
        await back();
        await world.untilHealthy();
        const seen = world.events.length;
        const fault = world.begin('old records restored', null, { apart: true });
        restart = await world.killScheduler();
        await rm(world.scheduler.dataDir, { recursive: true });
        await cp(copy, world.scheduler.dataDir, { recursive: true });
        await rm(copy, { recursive: true });
        await restart();
        await world.untilEvent('scheduler.rebuilt', undefined, seen);
        await world.untilHealthy();
        fault.end();
        await untilAllAlive(world, { ...mix, since });
      }
    },
  },
  {
    name: 'scheduler-backup',
    says: 'a scheduler whose records are gone is made anew from a backup, and takes over what was started since',
    rounds: { whole: 2, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      const file = join(world.options.directory, 'backup.ndjson');
      for (let round = 0; round < world.options.rounds; ++round) {
        const { host, port, dataDir } = world.scheduler;
        const access = ['--address', `http://127.0.0.1:${port}`, '--token-file', join(dataDir, 'admin.token')];
        morchOn(host, 'backup', ...access, '--file', file, '--force');
        const since = await world.submit({ id: `since-${round}`, replicas: 3 });
        await world.untilAlive(since);
        const before = world.living({ replaced: mix.replaced, kept: mix.kept, since });
        const seen = world.events.length;
        const fault = world.begin('records gone, a backup restored', null, { apart: true });
        const restart = await world.killScheduler();
        await rm(world.scheduler.dataDir, { recursive: true });
        morchOn(host, 'restore', file, '--data-dir', dataDir);
        await restart();
        await world.untilEvent('scheduler.rebuilt', undefined, seen);
        await world.untilHealthy();
        fault.end();
        await untilAllAlive(world, { ...mix, since });
        expectSame(before, world.living({ replaced: mix.replaced, kept: mix.kept, since }));
      }
    },
  },
  {
    name: 'scheduler-records-damaged',
    says: 'a flipped bit, a lost end or a lost file of the store is noticed, and everything that runs is taken over',
    rounds: { whole: 10, short: 2 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const late = await world.submit({ id: `late-${round}`, replicas: 2, onDisconnect: 'keep' });
        await world.untilAlive(late);
        const before = world.living({ replaced: mix.replaced, kept: mix.kept, late });
        const fault = world.begin('records damaged', null, { apart: true });
        const restart = await world.killScheduler();
        world.say(damageSomething(world.scheduler.dataDir, world.random));
        await restart();
        await untilNothingIsRebuilt(world);
        await world.untilHealthy();
        fault.end();
        await untilAllAlive(world, { ...mix, late });
        expectSame(before, world.living({ replaced: mix.replaced, kept: mix.kept, late }));
      }
    },
  },
];

async function untilNothingIsRebuilt(world: World): Promise<void> {
  const isRebuilding = async (): Promise<boolean> =>
    ((await world.get('/health')).body.reasons as string[]).some((reason) => /rebuil|restored|damaged/.test(reason));
  world.say((await isRebuilding()) ? 'it is rebuilding' : 'it has found nothing that matters');
  await world.until(async () => !(await isRebuilding()), 'it is not rebuilding');
}
