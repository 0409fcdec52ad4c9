/** What befalls agents while their machines go on. */
import { rm } from 'node:fs/promises';
import { limitDescriptors } from '../limits';
import type { Scenario } from '../scenario';
import { onNode } from '../world';

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
        const back = await world.killAgent(world.random.pick(world.names));
        await back();
        await world.untilHealthy();
      }
      const after = await world.untilAlive(web);
      const identities = (traces: typeof before) => traces.map(({ pid }) => pid).sort();
      if (String(identities(before)) !== String(identities(after))) throw new Error('the processes are not the same');
    },
  },
  {
    name: 'agent-killed',
    says: 'what an agent ran that stays away is started elsewhere; the old copies end when it is back',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6, child: true });
      await world.untilAlive(web);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const back = await world.killAgent(name);
        await world.untilEvent('node.lost', name, seen);
        await world.untilAlive(web);
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
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const goOn = world.hang(name);
        await world.untilEvent('node.lost', name, seen);
        await world.untilAlive(web);
        await goOn();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'agent-flapping',
    says: 'a node that comes and goes costs no more than its instances a move each time',
    rounds: { whole: 20, short: 2 },
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6 });
      await world.untilAlive(web);
      for (let round = 0; round < world.options.rounds; ++round) {
        const seen = world.events.length;
        const goOn = world.hang('n1');
        await world.untilEvent('node.lost', 'n1', seen);
        await goOn();
        await world.untilEvent('node.returned', 'n1', seen);
      }
    },
  },
  {
    name: 'agent-state-deleted',
    says: 'an agent whose state was deleted stops what it finds; all of it is started anew',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 6, child: true });
      await world.untilAlive(web);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const back = await world.killAgent(name, { plain: false });
        await rm(world.agent(name).dataDir, { recursive: true });
        // The node that it was is lost; it takes its name when it has the verdict.
        const fault = world.begin('state deleted', name, { failed: true, apart: true });
        await back();
        await world.untilEvent('node.lost', name, seen);
        await world.untilHealthy();
        fault.end();
        await world.untilAlive(web);
      }
    },
  },
  {
    name: 'agent-out-of-files',
    says: 'an agent that can open no more files starts nothing and loses nothing',
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 3 });
      await world.untilAlive(web);
      const fault = world.begin('no more files', 'n1', { apart: true });
      const more = limitDescriptors(world.agent('n1').pid);
      const late = await world.submit({ id: 'late', replicas: 3, spec: onNode('n1') });
      await world.untilAlive(web);
      await world.passed(8_000);
      more();
      fault.end();
      await world.untilHealthy();
      await world.untilAlive(late);
    },
  },
  {
    name: 'agent-failpoints',
    says: 'an agent that is killed at any point around its writes starts nothing twice and loses nothing',
    rounds: { whole: 30, short: 3 },
    async run(world) {
      for (let round = 0; round < world.options.rounds; ++round) {
        const point = world.random.between(1, 24);
        const back = await world.killAgent('n1', { plain: false });
        world.agent('n1').spawn({ preloads: ['agentFailpoints'], env: { MORCH_FAULT_KILL_AT: String(point) } });
        const web = await world.submit({ id: `web-${round}`, replicas: 3, spec: onNode('n1') });
        const job = await world.submit({
          id: `job-${round}`,
          kind: 'batch',
          replicas: 3,
          runMs: 50,
          spec: onNode('n1'),
        });
        const hasDied = await world.hasEnded(world.agent('n1'), 3_000);
        world.say(hasDied ? world.agent('n1').lastWords() : `point ${point} was not passed`);
        if (!hasDied) await world.agent('n1').end();
        await back();
        await world.untilAlive(web);
        await world.untilAlive(job);
        await world.stop(web);
        await world.untilStopped(web);
      }
    },
  },
];
