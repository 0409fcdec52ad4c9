/** What befalls disks. */
import { join } from 'node:path';
import { breakDisk, fillDisk, mendDisk } from '../disks';
import type { Scenario } from '../scenario';
import { onNode, type World } from '../world';
import { expectSame, submitMix, untilAllAlive } from './workloads';

/** Too large to find room in what a file has of its last block. */
const SUBMISSION = { id: 'refused', command: ['true'], env: { LONG: 'x'.repeat(100_000) } };

export const disks: Scenario[] = [
  {
    name: 'scheduler-disk-full',
    says: 'a scheduler whose disk is full refuses with 507, loses nothing, and goes on when there is room',
    disks: { scheduler: { kind: 'tmpfs', mebibytes: 32 } },
    rounds: { whole: 4, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const fault = world.begin('disk full', null, { apart: true });
        const free = fillDisk(world.scheduler.dataDir);
        await untilRefused(world);
        const late = world.submit({
          id: `late-${round}`,
          replicas: 3,
          onDisconnect: world.random.pick(['replace', 'stop']),
        });
        // What dies meanwhile is moved when it can be written down.
        const back = await world.killNode(world.random.pick(world.names), { plain: false });
        await world.passed(world.random.between(1_000, 7_000));
        free();
        if (round % 2 === 1) await (await world.killScheduler())();
        await late;
        await back();
        fault.end();
        await world.untilHealthy();
        await untilAllAlive(world, { ...mix, late: await late });
        await world.stop(await late);
      }
    },
  },
  {
    name: 'scheduler-disk-broken',
    says: 'a scheduler whose disk is read-only refuses with 507, and loses nothing that it has acknowledged',
    disks: { scheduler: { kind: 'ext4', mebibytes: 64 } },
    async run(world) {
      const mix = await submitMix(world);
      const fault = world.begin('disk read-only', null, { apart: true });
      breakDisk(world.scheduler.dataDir);
      await untilRefused(world);
      await world.passed(3_000);
      const restart = await world.killScheduler();
      mendDisk(world.scheduler.dataDir);
      await restart();
      fault.end();
      await world.untilHealthy();
      await untilAllAlive(world, mix);
      await world.untilAlive(await world.submit({ id: 'late', replicas: 3 }));
    },
  },
  {
    name: 'agent-disk-full',
    says: 'an agent whose disk is full starts nothing and ends nothing, and goes on when there is room',
    disks: { n1: { kind: 'tmpfs', mebibytes: 8 } },
    rounds: { whole: 4, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const fault = world.begin('disk full', 'n1', { apart: true });
        const free = fillDisk(world.agent('n1').dataDir);
        const there = await world.submit({ id: `there-${round}`, replicas: 2, spec: onNode('n1') });
        const anywhere = await world.submit({ id: `anywhere-${round}`, replicas: 3 });
        const job = await world.submit({ id: `job-${round}`, kind: 'batch', replicas: 3, runMs: 100 });
        await world.untilAlive(anywhere);
        await world.untilAlive(job);
        await world.passed(world.random.between(0, 3_000));
        if (round % 2 === 1) await world.stop(anywhere);
        free();
        fault.end();
        await world.untilAlive(there);
        await untilAllAlive(world, mix);
        await world.stop(there);
      }
    },
  },
  {
    name: 'agent-disk-broken',
    says: 'an agent whose disk is read-only starts nothing and ends nothing that it should not',
    disks: { 'n1/instances': { kind: 'ext4', mebibytes: 32 } },
    async run(world) {
      await submitMix(world);
      const there = await world.submit({ id: 'there', replicas: 2, spec: onNode('n1') });
      await world.untilAlive(there);
      breakDisk(join(world.agent('n1').dataDir, 'instances'));
      const fault = world.begin('disk read-only', 'n1', { apart: true });
      const late = await world.submit({ id: 'late', replicas: 3 });
      await world.untilAlive(late);
      await world.untilAlive(there);
      await world.stop(there);
      await world.passed(2_000);
      // Only a reboot of the machine gets such a disk back.
      const back = await world.killNode('n1', { plain: false });
      await world.passed(500);
      mendDisk(join(world.agent('n1').dataDir, 'instances'));
      await back();
      await world.untilHealthy();
      fault.end();
      await world.untilStopped(there);
    },
  },
  {
    name: 'log-disk-full',
    says: 'output that finds no room never blocks or ends a program',
    disks: { 'n1/logs': { kind: 'tmpfs', mebibytes: 4 } },
    async run(world) {
      const chatty = await world.submit({ id: 'chatty', replicas: 3, outputBytes: 20_000, spec: onNode('n1') });
      await world.untilAlive(chatty);
      const before = world.living({ chatty });
      const free = fillDisk(join(world.agent('n1').dataDir, 'logs'));
      await world.passed(5_000);
      await world.untilAlive(chatty);
      expectSame(before, world.living({ chatty }));
      free();
      await world.untilAlive(await world.submit({ id: 'late', spec: onNode('n1') }));
    },
  },
];

async function untilRefused(world: World): Promise<void> {
  await world.until(async () => {
    const { status } = await world.scheduler.ask('/workloads', { method: 'POST', body: SUBMISSION });
    if (status === 201) throw new Error('it acknowledged what it cannot have written');
    return status === 507;
  }, 'a submission is refused with 507');
  world.say('a submission was refused with 507');
}
