/** What befalls whole nodes, and what a user does meanwhile. */
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Hindrance } from '../part';
import type { Scenario } from '../scenario';
import type { World } from '../world';
import { newest, submitMix, untilAllAlive, untilMoved } from './workloads';

const ALL_OF_A_NODE = { resources: { cpuMillis: 4_000 } };

export const nodes: Scenario[] = [
  {
    name: 'node-lost',
    says: 'what ran on a node that dies with all it runs is started elsewhere',
    rounds: { whole: 3, short: 1 },
    short: true,
    async run(world) {
      const mix = await submitMix(world);
      const job = await world.submit({ id: 'job', kind: 'batch', replicas: 3, runMs: 30_000 });
      const logd = await world.submit({ id: 'logd', kind: 'daemon' });
      await world.untilAlive(job);
      await world.untilAlive(logd);
      for (let round = 0; round < world.options.rounds; ++round) {
        const seen = world.events.length;
        const name = world.random.pick(world.names);
        const back = await world.killNode(name);
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await world.untilAlive(job);
        await back();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'node-rebooted',
    says: 'after a reboot, quick or slow, nothing old is taken over and all runs again',
    rounds: { whole: 6, short: 2 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const boot = await world.killNode(name, { plain: round % 2 === 1, next: withBootId(world) });
        if (round % 2 === 1) await world.untilEvent('node.lost', name, seen);
        await boot();
        await world.untilHealthy();
        await untilAllAlive(world, mix);
      }
    },
  },
  {
    name: 'all-nodes-lost',
    says: 'when all nodes have died, everything waits for them, and runs when they are back',
    async run(world) {
      await submitMix(world);
      const backs = await Promise.all(world.names.map((name) => world.killNode(name, { plain: false })));
      await world.passed(7_000);
      for (const back of backs) await back();
    },
  },
  {
    name: 'node-of-500-lost',
    says: 'the 500 instances of a node that dies are started elsewhere',
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 1_500, everyMs: 1_000 });
      await world.untilAlive(web);
      const seen = world.events.length;
      const back = await world.killNode('n2');
      await world.untilEvent('node.lost', 'n2', seen);
      await world.untilAlive(web);
      await back();
    },
  },
  {
    name: 'no-capacity',
    says: 'what fits nowhere after a loss waits, and runs as soon as there is room',
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 3, spec: ALL_OF_A_NODE });
      await world.untilAlive(web);
      const seen = world.events.length;
      const back = await world.killNode('n1');
      await world.untilEvent('node.lost', 'n1', seen);
      const waits = (w: { statusReason: string | null; instances: { statusReason: string | null }[] }) =>
        w.instances.some(({ statusReason }) => statusReason?.startsWith('no node fits') === true);
      await world.untilWorkload('web', waits, 'an instance waits with a reason');
      await back();
      await world.untilAlive(web);
    },
  },
  {
    name: 'stop-while-recovering',
    says: 'a stop that comes while its instances are being moved is kept',
    rounds: { whole: 6, short: 1 },
    short: true,
    async run(world) {
      for (let round = 0; round < world.options.rounds; ++round) {
        const onDisconnect = world.random.pick(['replace', 'stop', 'keep'] as const);
        const web = await world.submit({ id: `web-${round}`, replicas: 6, onDisconnect });
        await world.untilAlive(web);
        const back = await failSomehow(world, world.random.pick(world.names));
        await world.passed(world.times.verdictMs + world.random.between(-700, 400));
        await world.stop(web);
        await world.passed(world.random.between(0, 1_000));
        await back();
        await world.untilStopped(web);
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'scale-while-recovering',
    says: 'a change of the number of replicas while its instances are being moved is kept',
    rounds: { whole: 6, short: 1 },
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6 });
      const db = await world.submit({ id: 'db', replicas: 3, onDisconnect: 'stop' });
      for (let round = 0; round < world.options.rounds; ++round) {
        await world.untilAlive(web);
        await world.untilAlive(db);
        const back = await failSomehow(world, world.random.pick(world.names));
        await world.passed(world.times.verdictMs + world.random.between(-700, 400));
        await world.scale(web, world.random.between(1, 12));
        await world.scale(db, world.random.between(1, 6));
        await world.untilAlive(web);
        await world.untilAlive(db);
        await back();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'drain-while-node-dies',
    says: 'a drain is carried through while another node dies, and what was on either runs on the third',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6 });
      for (let round = 0; round < world.options.rounds; ++round) {
        await world.untilAlive(web);
        const [drained, dying, third] = world.random.shuffle(world.names) as [string, string, string];
        const back = await failSomehow(world, dying);
        await world.passed(world.random.between(0, 4_500));
        await world.drain(drained);
        await world.until(
          async () => newest(await world.untilAlive(web)).every(({ node }) => node === third),
          `all of it is on ${third}`,
        );
        await back();
        await world.uncordon(drained);
        await world.untilHealthy();
      }
    },
  },
];

/** A node fails in one of the ways that there are. */
function failSomehow(world: World, name: string) {
  switch (world.random.between(0, 3)) {
    case 0:
      return world.killNode(name, { plain: false });
    case 1:
      return world.killAgent(name, { plain: false });
    case 2:
      return Promise.resolve(world.hang(name));
    default:
      return Promise.resolve(world.cut(name));
  }
}

/** What an agent sees after a boot: another boot id. */
function withBootId(world: World): Hindrance {
  const path = join(world.options.directory, 'boot_id');
  writeFileSync(path, `${randomUUID()}\n`);
  const script = `mount --bind ${path} /proc/sys/kernel/random/boot_id && exec "$@"`;
  return { wrap: (argv) => ['unshare', '--mount', 'sh', '-c', script, 'sh', ...argv] };
}
