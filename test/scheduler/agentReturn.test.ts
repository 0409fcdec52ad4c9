/** Agents that go and come back, one story each: what the scheduler makes of their inventories. */
import { type WorkloadInput, workloadInputSchema } from '../../contract/workload';
import type { InstanceRecord } from '../../scheduler/core/model';
import { until } from '../support/until';
import type { PlayedAgent } from './playedAgent';
import { PlayedCluster } from './playedCluster';

/** Nothing is lost by chance, nothing fails, everything is answered at once: see PlayedAgent. */
const NO_CHANCE = () => 0.5;

let cluster: PlayedCluster;
let a: PlayedAgent;
let b: PlayedAgent;
beforeEach(async () => {
  cluster = await PlayedCluster.make(['a', 'b'], NO_CHANCE);
  a = cluster.agents.get('a')!;
  b = cluster.agents.get('b')!;
});
afterEach(async () => {
  expect(cluster.startedTwice()).toEqual([]);
  await cluster.close();
});

/** Submitted while b takes nothing, so that it goes to a. */
async function submitToA(more: Partial<WorkloadInput> = {}): Promise<InstanceRecord> {
  b.node.cordoned = true;
  cluster.state.saveNode(b.node);
  await cluster.service.submit(workloadInputSchema.parse({ id: 'web', kind: 'service', command: ['serve'], ...more }));
  await until(() => instance() !== undefined, { what: 'the instance is made' });
  await until(() => instance().node !== null || instance().statusReason !== null, { what: 'it was looked at' });
  b.node.cordoned = false;
  cluster.state.saveNode(b.node);
  cluster.loop.wake();
  return instance();
}

const instance = () => [...cluster.state.instances.values()][0]!;
const untilRunning = (where: PlayedAgent) =>
  until(() => instance().status === 'running' && instance().node === where.node.id, {
    what: `it runs on ${where.node.id}`,
  });
const isSchedulable = (where: PlayedAgent) =>
  cluster.service.node(where.node.id).schedulable && cluster.state.runtimeOf(where.node.id).stale.size === 0;
async function events(): Promise<string[]> {
  const { events } = await cluster.service.history('web', { limit: 1_000, cursor: undefined });
  return events.map((event) => `${event.type} ${event.generation ?? ''}`.trim());
}

it('an agent that has not been acknowledged lately is told to start something when it has been, and not before', async () => {
  a.acknowledged = false;
  await submitToA();
  await until(() => instance().node === 'a', { what: 'it has its place' });
  await cluster.service.submit(workloadInputSchema.parse({ id: 'other', kind: 'service', command: ['serve'] }));
  const other = [...cluster.state.instances.values()][1]!;
  await until(() => other.status === 'running', { what: 'the other one runs' });
  expect([other.node, instance().status, cluster.starts.length]).toEqual(['b', 'starting', 1]);
  a.acknowledged = true;
  await untilRunning(a);
  expect(cluster.starts).toHaveLength(2);
});

describe('an agent that is back before its verdict', () => {
  it('finds what it still runs as it was, without an event', async () => {
    await submitToA();
    await untilRunning(a);
    const before = { ...instance() };
    const { lastEventSeq } = cluster.state;
    cluster.kill(a);
    cluster.bringBack(a);
    expect(instance()).toEqual(before);
    expect(cluster.state.lastEventSeq).toBe(lastEventSeq);
  });

  it('has an exit that it missed taken in once, as it was', async () => {
    await submitToA({ kind: 'batch', restart: { attempts: 1 } });
    await untilRunning(a);
    cluster.kill(a);
    a.step();
    cluster.bringBack(a);
    expect(instance()).toMatchObject({ status: 'failed', generation: 1, exit: { code: 1 }, shimPid: null });
    cluster.cutOff(a);
    cluster.bringBack(a);
    await until(async () => (await events()).includes('workload.failed'), { what: 'its end is told' });
    expect((await events()).filter((type) => type.startsWith('instance.exited'))).toHaveLength(1);
    await until(() => a.copies.size === 0, { what: 'the agent may forget it' });
  });

  it('has a start that was under way when it died taken over where it came to something', async () => {
    a.answersNothing = true;
    await submitToA();
    await until(() => a.live.length === 1, { what: 'it was started' });
    expect(instance()).toMatchObject({ status: 'starting', rev: -1 });
    cluster.kill(a);
    a.answersNothing = false;
    cluster.bringBack(a);
    await untilRunning(a);
    expect(instance()).toMatchObject({ generation: 1, attempts: 1, pid: 1_001, shimPid: 901 });
  });

  it('is asked again for a start that came to nothing, under the same generation', async () => {
    a.hearsNothing = true;
    await submitToA();
    await until(() => instance().node === 'a', { what: 'it was placed' });
    cluster.kill(a);
    a.hearsNothing = false;
    cluster.bringBack(a);
    await untilRunning(a);
    expect(instance()).toMatchObject({ generation: 1, attempts: 1 });
    expect(cluster.starts).toHaveLength(1);
  });
});

describe('an agent that is back after its verdict', () => {
  it('keeps what has not been placed elsewhere', async () => {
    await submitToA();
    await untilRunning(a);
    cluster.cutOff(b);
    cluster.kill(a);
    cluster.verdict(a);
    expect(instance()).toMatchObject({ status: 'recovering', node: null });
    cluster.bringBack(a);
    expect(instance()).toMatchObject({ status: 'running', node: 'a', generation: 1, attempts: 1 });
  });

  it('has its stale copy stopped, and takes placements only when that is gone', async () => {
    await submitToA();
    await untilRunning(a);
    cluster.kill(a);
    cluster.verdict(a);
    await untilRunning(b);
    expect(instance()).toMatchObject({ generation: 2, attempts: 1 });
    cluster.bringBack(a);
    expect(isSchedulable(a)).toBe(false);
    await until(() => a.live[0]?.report.status === 'stopping', { what: 'the copy is being stopped' });
    expect(cluster.service.node('a').schedulable).toBe(false);
    a.settle();
    a.deliver();
    expect(isSchedulable(a)).toBe(true);
    expect(instance()).toMatchObject({ status: 'running', node: 'b', generation: 2 });
  });

  it('takes placements again also when what it had to stop was over for the scheduler', async () => {
    await submitToA();
    await untilRunning(a);
    cluster.cutOff(a);
    cluster.verdict(a);
    cluster.loop.nodeGone(a.node, 'its node was forgotten');
    cluster.kill(b);
    await cluster.service.stop('web', false);
    await until(() => instance().status === 'stopped', { what: 'it is stopped' });
    cluster.bringBack(a);
    expect(isSchedulable(a)).toBe(false);
    await until(() => a.live[0]?.report.status === 'stopping', { what: 'the copy is being stopped' });
    a.settle();
    a.deliver();
    expect(isSchedulable(a)).toBe(true);
    expect(instance().status).toBe('stopped');
  });
});

describe('a generation that has ended', () => {
  it('stays known to its agent as long as a start of it may still arrive', async () => {
    a.hearsNothing = true;
    await submitToA();
    await until(() => instance().node === 'a', { what: 'it was placed' });
    await new Promise((resolve) => setImmediate(resolve));
    // The start was not answered, and may be on its way still.
    a.hearsNothing = false;
    await cluster.service.stop('web', false);
    await until(() => instance().status === 'stopped', { what: 'its stop is confirmed' });
    a.deliver();
    await until(async () => (await events()).includes('workload.stopped'), { what: 'that is durable' });
    cluster.loop.wake();
    await until(async () => (await events()).includes('instance.stopped 1'), { what: 'another pass was made' });
    expect(a.copies.size).toBe(1);
    expect(cluster.starts).toEqual([]);
    cluster.cutOff(a);
    cluster.bringBack(a);
    await until(() => a.copies.size === 0, { what: 'in another session it may go' });
  });

  it('may be forgotten when its start is answered, though it ended before', async () => {
    const start = a.start.bind(a);
    let answer = () => {};
    a.start = async (commands) => {
      const answers = await start(commands);
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return answers;
    };
    await submitToA({ kind: 'batch', restart: { attempts: 1 } });
    await until(() => a.live.length === 1, { what: 'it was started' });
    a.deliver();
    a.step();
    a.deliver();
    await until(async () => (await events()).includes('workload.failed'), { what: 'its end is durable' });
    expect(a.copies.size).toBe(1);
    answer();
    await until(() => a.copies.size === 0, { what: 'the agent may forget it' });
  });
});

describe('another agent under the name', () => {
  it.each(['degraded', 'lost'] as const)('of a %s node is not asked for starts of the one before', async (status) => {
    a.hearsNothing = true;
    await submitToA();
    await until(() => instance().node === 'a', { what: 'it was placed' });
    cluster.kill(a);
    if (status === 'lost') cluster.verdict(a);
    else cluster.state.setNodeStatus(a.node, 'degraded', null);
    cluster.kill(b);
    cluster.takeOver(a, 'another key');
    a.hearsNothing = false;
    cluster.bringBack(a);
    await untilRunning(a);
    expect(instance()).toMatchObject({ generation: 2, attempts: 1 });
    expect(cluster.starts.map(({ generation }) => generation.split('/')[2])).toEqual(['2']);
  });
});

describe('an agent that ends and leaves what it runs running', () => {
  it('refuses what is new, which goes elsewhere, and answers for what it has', async () => {
    a.closing = true;
    await submitToA();
    await untilRunning(b);
    expect(instance()).toMatchObject({ generation: 2, attempts: 1 });
    expect(cluster.service.node('a').schedulable).toBe(false);
    cluster.kill(a);
    cluster.bringBack(a);
    expect(isSchedulable(a)).toBe(true);
  });
});

describe('what needs a feature', () => {
  it('waits with the reason of each node, costs no attempt, and is placed when a hello brings the feature', async () => {
    b.node.features = ['limits.cpu'];
    const limits = { memoryBytes: 2 ** 26 };
    await submitToA({ limits });
    const lack = 'lacks limits.memory (no cgroup v2 memory controller)';
    await until(() => instance().statusReason === `no node fits (a, b: ${lack})`, { what: 'the reason is told' });
    expect(cluster.service.workload('web')).toMatchObject({ status: 'pending', limits, attempts: 0 });
    cluster.kill(b);
    b.node.features = ['limits.cpu', 'limits.memory'];
    cluster.state.saveNode(b.node);
    cluster.bringBack(b);
    await untilRunning(b);
    expect(instance()).toMatchObject({ generation: 1, attempts: 1 });
  });

  it('is replaced when a limit is changed, on a node that has it', async () => {
    await submitToA();
    await untilRunning(a);
    b.node.features = ['limits.pids'];
    cluster.state.saveNode(b.node);
    const changed = workloadInputSchema.parse({ kind: 'service', command: ['serve'], limits: { pids: 64 } });
    await cluster.service.apply('web', changed);
    await until(() => a.live[0]?.report.status === 'stopping', { what: 'the old one is being stopped' });
    a.settle();
    a.deliver();
    await untilRunning(b);
    expect(instance()).toMatchObject({ generation: 2, revision: 2 });
  });
});
