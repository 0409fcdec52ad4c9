/** What befalls agents while their machines go on, and whole nodes. */
import type { Scenario } from '../scenario';

export const agents: Scenario[] = [
  {
    name: 'agent-restart',
    says: 'an agent that is killed and back at once costs nothing: the same processes, no verdict',
    rounds: { whole: 100, short: 3 },
    short: true,
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6, child: true });
      const before = await world.untilAlive(web);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const back = await world.killAgent(name);
        await back();
        await world.untilHealthy();
      }
      const after = await world.untilAlive(web);
      const identities = (traces: typeof before) => traces.map(({ pid }) => pid).sort();
      if (String(identities(before)) !== String(identities(after))) throw new Error('the processes are not the same');
    },
  },
  {
    name: 'node-lost',
    says: 'what ran on a node that dies with all it runs is started elsewhere',
    rounds: { whole: 3, short: 1 },
    short: true,
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6, child: true });
      const job = await world.submit({ id: 'job', kind: 'batch', replicas: 3, runMs: 20_000 });
      await world.untilAlive(web);
      await world.untilAlive(job);
      for (let round = 0; round < world.options.rounds; ++round) {
        const seen = world.events.length;
        const name = world.random.pick(world.names);
        const back = await world.killNode(name);
        await world.untilEvent('node.lost', name, seen);
        await world.untilAlive(web);
        await world.untilAlive(job);
        await back();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'agent-hung',
    says: 'what an agent ran that hangs is started elsewhere; the old copies end when it goes on',
    rounds: { whole: 3, short: 1 },
    short: true,
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6 });
      await world.untilAlive(web);
      for (let round = 0; round < world.options.rounds; ++round) {
        const seen = world.events.length;
        const name = world.random.pick(world.names);
        const goOn = world.hang(name);
        await world.untilEvent('node.lost', name, seen);
        await world.untilAlive(web);
        await goOn();
        await world.untilHealthy();
      }
    },
  },
];
