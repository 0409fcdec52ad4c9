/** What befalls the network between scheduler and agents. */
import { spawnSync } from 'node:child_process';
import type { Scenario } from '../scenario';
import { onNode } from '../world';
import { expectSame, submitMix, untilAllAlive, untilMoved } from './workloads';

export const network: Scenario[] = [
  {
    name: 'partition',
    says: 'what ran on a node that is cut off is started elsewhere; the old copies end when it is heard again',
    rounds: { whole: 3, short: 1 },
    short: true,
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const heal = world.cut(name);
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await world.passed(world.random.between(0, 10_000));
        await heal();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'one-way-from-node',
    says: 'a node that hears the scheduler and is not heard is lost, and stops its old copies when it is heard again',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const heal = world.cut(name, 'from');
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await heal();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'one-way-to-node',
    says: 'a node that is heard and hears nothing loses nothing',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const heal = world.cut(world.random.pick(world.names), 'to');
        await world.passed(world.random.between(5_000, 25_000));
        await heal();
        await world.untilHealthy();
        await untilAllAlive(world, mix);
      }
    },
  },
  {
    name: 'no-route',
    says: 'a node to which the network says there is no way is treated like one that is cut off',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const heal = world.cut(name, 'both', 'unreachable');
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await heal();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'short-cuts',
    says: 'cuts that are over before anybody is suspected cost nothing: no verdict, the same processes',
    rounds: { whole: 10, short: 2 },
    async run(world) {
      const mix = await submitMix(world);
      const before = world.living(mix);
      for (let round = 0; round < world.options.rounds; ++round) {
        const heal = world.cut(world.random.pick(world.names), world.random.pick(['both', 'from', 'to']));
        await world.passed(world.times.briefMs);
        await heal();
        await world.untilHealthy();
      }
      await untilAllAlive(world, mix);
      // A restart that took too long has its verdict, and rightly so.
      if (!world.hasVerdict) expectSame(before, world.living(mix));
    },
  },
  {
    name: 'half-open',
    says: 'connections that lead nowhere any more are noticed, without a verdict, as long as new ones work',
    rounds: { whole: 5, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        await untilAllAlive(world, mix);
        const heal = world.breakConnections(world.random.pick(world.names));
        await world.passed(world.random.between(5_000, 12_000));
        const late = await world.submit({ id: `late-${round}`, replicas: 3 });
        await world.untilAlive(late);
        await heal();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'loss-of-30-percent',
    says: 'a network that loses 30 % of its packets both ways delays, and nothing else',
    reasonToSkip: () => (isThere('nft') ? null : 'it needs nft (Debian, Ubuntu: apt-get install nftables)'),
    async run(world) {
      const heals = world.names.map((name) => world.lose(name, 30));
      const web = await world.submit({ id: 'web', replicas: 6 });
      await world.untilAlive(web);
      for (let round = 0; round < 5; ++round) {
        const job = await world.submit({ id: `job-${round}`, kind: 'batch', replicas: 3, runMs: 500 });
        await world.passed(5_000);
        await world.untilAlive(job);
      }
      await world.stop(web);
      await world.untilStopped(web);
      for (const heal of heals) await heal();
    },
  },
  {
    name: 'reply-lost',
    says: 'a start whose answer is lost is not repeated elsewhere, and not done twice',
    rounds: { whole: 10, short: 1 },
    short: true,
    async run(world) {
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const heal = world.cut(name, 'from');
        const onDisconnect = world.random.pick(['replace', 'stop', 'keep'] as const);
        const web = await world.submit({ id: `web-${round}`, replicas: 3, onDisconnect, spec: onNode(name) });
        const wide = await world.submit({ id: `wide-${round}`, replicas: 3, onDisconnect });
        await world.passed(world.random.between(200, 2_000));
        await heal();
        await world.untilAlive(web);
        await world.untilAlive(wide);
        await world.untilHealthy();
        await world.stop(web);
        await world.stop(wide);
      }
    },
  },
  {
    name: 'start-after-stop',
    says: 'a start that lay in the socket of a stopped agent past its stop, or past the verdict, is not carried out',
    rounds: { whole: 6, short: 2 },
    short: true,
    async run(world) {
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const goOn = world.hang(name);
        const onDisconnect = world.random.pick(['replace', 'stop', 'keep'] as const);
        const web = await world.submit({ id: `web-${round}`, replicas: 2, onDisconnect, spec: onNode(name) });
        const wide = await world.submit({ id: `wide-${round}`, replicas: 3, onDisconnect });
        await world.passed(world.random.between(100, 500));
        await world.stop(web);
        // Before the verdict, or after it.
        await world.passed(round % 2 === 0 ? 300 : world.times.verdictMs + 1_000);
        await goOn();
        await world.untilStopped(web);
        await world.untilAlive(wide);
        await world.untilHealthy();
        await world.stop(wide);
      }
    },
  },
  {
    name: 'id-reused',
    says: 'a copy on a cut-off node is not taken for the workload that has its id now',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      for (let round = 0; round < world.options.rounds; ++round) {
        const web = await world.submit({ id: 'web', replicas: 3 });
        await world.untilAlive(web);
        const seen = world.events.length;
        const heal = world.cut('n1');
        await world.untilEvent('node.lost', 'n1', seen);
        await world.untilAlive(web);
        await world.stop(web);
        await world.untilStopped(web);
        const next = await world.submit({ id: 'web', replicas: 3 });
        await world.untilAlive(next);
        await heal();
        await world.untilHealthy();
        await world.untilAlive(next);
        await world.stop(next);
        await world.untilStopped(next);
      }
    },
  },
  {
    name: 'scheduler-cut-off',
    says: 'a scheduler that is cut off from all nodes at once moves nothing, and finds everything as it was',
    async run(world) {
      const mix = await submitMix(world);
      const before = world.living({ replaced: mix.replaced, kept: mix.kept });
      const heals = world.names.map((name) => world.cut(name, 'both', 'blackhole', { plain: false }));
      await world.passed(12_000);
      for (const heal of heals) await heal();
      await world.untilHealthy();
      await untilAllAlive(world, mix);
      expectSame(before, world.living({ replaced: mix.replaced, kept: mix.kept }));
    },
  },
];

function isThere(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' }).status === 0;
}
