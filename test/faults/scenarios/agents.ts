/** What befalls agents while their machines go on. */
import { rm } from 'node:fs/promises';
import { limitDescriptors } from '../limits';
import type { Scenario } from '../scenario';
import { onNode } from '../world';
import { expectSame, newest, submitMix, untilAllAlive, untilMoved } from './workloads';

export const agents: Scenario[] = [
  {
    name: 'agent-restart',
    says: 'an agent that is killed and back at once costs nothing: the same processes, no verdict',
    rounds: { whole: 100, short: 3 },
    short: true,
    async run(world) {
      const mix = await submitMix(world);
      const before = world.living(mix);
      for (let round = 0; round < world.options.rounds; ++round) {
        const back = await world.killAgent(world.random.pick(world.names));
        await back();
        await world.untilHealthy();
      }
      await untilAllAlive(world, mix);
      // A restart that took too long has its verdict, and rightly so.
      if (!world.hasVerdict) expectSame(before, world.living(mix));
    },
  },
  {
    name: 'agent-killed',
    says: 'what an agent ran that stays away is started elsewhere; the old copies end when it is back',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const back = await world.killAgent(name);
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await back();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'agent-hung',
    says: 'what an agent ran that hangs is started elsewhere; the old copies end when it goes on',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const goOn = world.hang(name);
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await goOn();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'agent-hung-for-moments',
    says: 'an agent that hangs for moments, at any time, starts nothing that it should not',
    rounds: { whole: 20, short: 2 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const goOn = world.hang(world.random.pick(world.names));
        const job = await world.submit({ id: `job-${round}`, kind: 'batch', replicas: 3, runMs: 100 });
        // Around the verdict, and around the end of the lease.
        await world.passed(world.random.pick([0, world.times.verdictMs, 8_000]) + world.random.between(-300, 2_500));
        await goOn();
        await world.untilAlive(job);
        await world.untilHealthy();
        await untilAllAlive(world, mix);
      }
    },
  },
  {
    name: 'agent-flapping',
    says: 'a node that comes and goes gets nothing new after a few times, until it is trusted again',
    rounds: { whole: 20, short: 6 },
    flags: [],
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const seen = world.events.length;
        const goOn = world.hang('n1');
        await world.untilEvent('node.lost', 'n1', seen);
        await goOn();
        await world.untilEvent('node.returned', 'n1', seen);
        await world.untilAlive(mix.replaced);
      }
      await world.untilEvent('node.quarantined', 'n1');
      const late = await world.submit({ id: 'late', replicas: 4 });
      if (newest(await world.untilAlive(late)).some(({ node }) => node === 'n1'))
        throw new Error('a node in quarantine got something new');
      await world.uncordon('n1');
    },
  },
  {
    name: 'agent-state-deleted',
    says: 'an agent whose state was deleted stops what it finds; all of it is started anew',
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 3, child: true });
      const db = await world.submit({ id: 'db', replicas: 3, onDisconnect: 'stop', child: true });
      await world.untilAlive(web);
      await world.untilAlive(db);
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
        await world.untilAlive(db);
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
      await world.passed(8_000);
      if (world.traces(late).length > 0) throw new Error('it started something, so it could open files');
      await world.untilAlive(web);
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
        const point = world.random.between(1, 60);
        const back = await world.killAgent('n1', { plain: false });
        world.agent('n1').spawn({ preloads: ['agentFailpoints'], env: { MORCH_FAULT_KILL_AT: String(point) } });
        const where = onNode('n1');
        const web = await world.submit({ id: `web-${round}`, replicas: 3, spec: where });
        const db = await world.submit({ id: `db-${round}`, replicas: 2, onDisconnect: 'stop', spec: where });
        const job = await world.submit({ id: `job-${round}`, kind: 'batch', replicas: 3, runMs: 50, spec: where });
        if (await world.hasEnded(world.agent('n1'), 3_000)) world.say(world.agent('n1').lastWords());
        else {
          world.say(`point ${point} was not passed`);
          await world.agent('n1').end();
        }
        await back();
        for (const submission of [web, db, job]) await world.untilAlive(submission);
        for (const submission of [web, db]) {
          await world.stop(submission);
          await world.untilStopped(submission);
        }
      }
    },
  },
];
