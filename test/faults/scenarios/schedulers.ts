/** What befalls the scheduler. */
import { spawnSync } from 'node:child_process';
import { cp } from 'node:fs/promises';
import type { Submission } from '../history';
import { limitDescriptors } from '../limits';
import type { Scenario } from '../scenario';
import type { World } from '../world';
import { expectSame, submitMix, untilAllAlive, untilMoved } from './workloads';

const STALL_MS = 3_000;
const STALL = { preloads: ['stall'], env: { MORCH_FAULT_STALL_MS: String(STALL_MS) } };
const MOST_STEPS = 50;
const GARBAGE = { preloads: ['garbage'] };

export const schedulers: Scenario[] = [
  {
    name: 'scheduler-paused',
    says: 'a scheduler that is stopped for 3, 10 and 60 s (SIGSTOP) blames nobody',
    rounds: { whole: 3, short: 1 },
    short: true,
    async run(world) {
      await submitMix(world);
      for (const ms of [3_000, 10_000, 60_000].slice(0, world.options.rounds)) {
        const goOn = world.pauseScheduler();
        await world.passed(ms);
        await goOn();
        await world.passed(6_000);
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'scheduler-stalled',
    says: 'a scheduler that is blocked for 3 s in an I/O callback, again and again, blames nobody',
    hindrances: () => ({ scheduler: STALL }),
    rounds: { whole: 18, short: 1 },
    run: stallAgainAndAgain,
  },
  {
    name: 'scheduler-wires-stalled',
    says: 'a scheduler whose thread of connections is blocked for 3 s, again and again, blames nobody',
    hindrances: () => ({ scheduler: { ...STALL, preloads: ['stallWires'] } }),
    rounds: { whole: 18, short: 2 },
    run: stallAgainAndAgain,
  },
  {
    name: 'scheduler-stutters',
    says: 'a scheduler that gets hardly any time (bursts of SIGSTOP and SIGCONT) blames nobody',
    rounds: { whole: 60, short: 10 },
    async run(world) {
      await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const goOn = world.pauseScheduler();
        await world.passed(world.random.between(50, 1_500));
        await goOn();
        await world.passed(world.random.between(5, 300));
      }
      await world.passed(5_000);
      await world.untilHealthy();
    },
  },
  {
    name: 'scheduler-stalled-while-node-dies',
    says: 'a node that dies while the scheduler stands still is lost all the same, and no other',
    hindrances: () => ({ scheduler: STALL }),
    rounds: { whole: 3, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const seen = world.events.length;
        const stalling = world.stallScheduler(STALL_MS);
        await world.passed(world.random.between(0, STALL_MS));
        const back = await world.killNode(name);
        await stalling;
        await world.untilEvent('node.lost', name, seen);
        await untilMoved(world, mix, name);
        await back();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'scheduler-killed',
    says: 'a scheduler that is killed while nodes fail and users ask loses nothing, and starts nothing twice',
    rounds: { whole: 10, short: 1 },
    async run(world) {
      const mix = await submitMix(world);
      for (let round = 0; round < world.options.rounds; ++round) {
        const name = world.random.pick(world.names);
        const back = await world.killNode(name, { plain: false });
        await world.passed(world.random.between(0, world.times.verdictMs + 500));
        const restart = await world.killScheduler();
        await world.passed(world.random.between(0, 1_000));
        await restart();
        await untilMoved(world, mix, name);
        await back();
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'scheduler-failpoints',
    says: 'a scheduler that is killed at any point around its writes, calls and answers keeps its word',
    rounds: { whole: 30, short: 3 },
    short: true,
    async run(world) {
      const submissions: Submission[] = [];
      for (let round = 0; round < world.options.rounds; ++round) {
        const restart = await world.killScheduler();
        const point = world.random.between(1, 150);
        world.scheduler.spawn({ preloads: ['failpoints'], env: { MORCH_FAULT_KILL_AT: String(point) } });
        const using = useIt(world, submissions, round);
        // It is waited for below; until then nobody listens to its failure.
        using.catch(() => {});
        const hasDied = await world.hasEnded(world.scheduler, 15_000);
        world.say(hasDied ? world.scheduler.lastWords() : `point ${point} was not passed`);
        if (!hasDied) await world.scheduler.end();
        await restart();
        await using;
        await world.untilHealthy();
      }
    },
  },
  {
    name: 'scheduler-garbage',
    says: 'a scheduler whose garbage collector stops it again and again blames nobody',
    hindrances: () => ({ scheduler: GARBAGE }),
    async run(world) {
      await submitMix(world);
      await world.passed(30_000);
      const late = await world.submit({ id: 'late', replicas: 6 });
      await world.untilAlive(late);
    },
  },
  {
    name: 'scheduler-out-of-files',
    says: 'a scheduler that can open no more files blames nobody and acknowledges nothing that it loses',
    async run(world) {
      await submitMix(world);
      const fault = world.begin('no more files', null);
      const more = limitDescriptors(world.scheduler.pid);
      const late = world.submit({ id: 'late', replicas: 3 });
      await world.passed(12_000);
      more();
      fault.end();
      await world.untilAlive(await late);
    },
  },
  {
    name: 'two-schedulers',
    says: 'a second scheduler on the same directory refuses, and says why',
    async run(world) {
      const web = await world.submit({ id: 'web', replicas: 3 });
      await world.untilAlive(web);
      const [file, ...args] = [...world.scheduler.command(), '--port', '5001'];
      const second = spawnSync(file!, args, { encoding: 'utf8', timeout: 20_000, killSignal: 'SIGKILL' });
      world.say(`the second one ends with ${second.status}: ${second.stderr.trim()}`);
      if (second.status !== 4 || !/another process holds|still running|is locked/.test(second.stderr))
        throw new Error('the second scheduler did not refuse as it should');
      const late = await world.submit({ id: 'late', replicas: 3 });
      await world.untilAlive(late);
    },
  },
  {
    name: 'scheduler-and-its-copy',
    says: 'of two schedulers on copies of one directory one stands down, and goes on when the other is gone',
    async run(world) {
      const mix = await submitMix(world);
      const before = world.living(mix);
      const first = world.scheduler;
      const second = await world.addScheduler('copy');
      const fault = world.begin('scheduler killed for a copy', null, { apart: true });
      const restart = await world.killScheduler();
      await cp(first.dataDir, second.dataDir, { recursive: true });
      await restart();
      await world.untilHealthy();
      fault.end();
      await second.start();
      await world.passed(20_000);
      await world.untilHealthy();
      await untilAllAlive(world, mix);
      expectSame(before, world.living(mix));
      await world.untilAlive(await world.submit({ id: 'late', replicas: 3 }));
      const { body } = await second.ask('/health');
      world.say(`the copy says: ${JSON.stringify(body)}`);
      if (body.status !== 'degraded') throw new Error('the copy does not say that it is out of work');
      const gone = world.begin('first scheduler killed for good', null, { apart: true });
      await first.end();
      world.scheduler = second;
      await world.untilHealthy();
      gone.end();
      await untilAllAlive(world, mix);
      await world.untilAlive(await world.submit({ id: 'later', replicas: 3 }));
    },
  },
  {
    name: 'scheduler-of-another-cluster',
    says: 'a scheduler of another cluster gets no agent of this one, whatever it tries',
    async run(world) {
      const mix = await submitMix(world);
      const before = world.living(mix);
      const other = await world.addScheduler('other');
      await other.start();
      for (const { name, agent } of world.nodes.values()) {
        const body = { name, host: agent.host.address, port: agent.port, agentToken: agent.token };
        const { status } = await other.ask('/nodes', { method: 'POST', body });
        world.say(`registering ${name} there: ${status}`);
        if (status !== 409) throw new Error(`it was answered ${status}`);
      }
      await world.passed(5_000);
      await untilAllAlive(world, mix);
      expectSame(before, world.living(mix));
    },
  },
];

/** What users do, one thing after the other until the scheduler has been killed. Each is acknowledged in the end. */
async function useIt(world: World, submissions: Submission[], round: number): Promise<void> {
  const { random } = world;
  for (let step = 0; step < MOST_STEPS && world.scheduler.isAlive; ++step) {
    const id = `${round}-${step}`;
    const live = submissions.filter(({ kind }) => kind === 'service');
    const which = live.length > 3 ? 3 : random.between(0, 3);
    if (which === 0 || live.length === 0) {
      const onDisconnect = random.pick(['replace', 'stop', 'keep'] as const);
      submissions.push(await world.submit({ id: `web-${id}`, replicas: random.between(1, 4), onDisconnect }));
    } else if (which === 1)
      submissions.push(
        await world.submit({ id: `job-${id}`, kind: 'batch', replicas: random.between(1, 3), runMs: 200 }),
      );
    else if (which === 2) await world.scale(random.pick(live), random.between(0, 5));
    else {
      const victim = random.pick(live);
      submissions.splice(submissions.indexOf(victim), 1);
      await world.stop(victim);
      await world.untilStopped(victim);
    }
  }
}

async function stallAgainAndAgain(world: World): Promise<void> {
  await submitMix(world);
  for (let round = 0; round < world.options.rounds; ++round) {
    await world.stallScheduler(STALL_MS);
    await world.passed(world.random.between(0, 3_000));
  }
  await world.passed(5_000);
  await world.untilHealthy();
}
