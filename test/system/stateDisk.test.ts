/** A state disk that is full or read-only when a workload ends: the end is told all the same, and recorded as soon as it can be. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agents, type TestAgent } from '../support/agent';
import { shimsOf } from '../support/shims';
import { until } from '../support/until';

const agents = new Agents();
const disks: string[] = [];
afterAll(async () => {
  for (const disk of disks) spawnSync('umount', ['--lazy', disk]);
  await agents.endAll();
}, 60_000);

const isRoot = process.geteuid?.() === 0;
const testAsRoot = isRoot ? test : test.skip;
const why = isRoot ? '' : ' (skipped: needs root to mount a disk)';

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** An agent whose records are on a disk of 2 MiB, and an instance that ends with 7 when it is told to. */
async function begin(): Promise<{ agent: TestAgent; disk: string; go: string }> {
  const dataDir = join(agents.directory, `data-${disks.length}`);
  const disk = join(dataDir, 'instances');
  mkdirSync(disk, { recursive: true });
  run('mount', '-t', 'tmpfs', '-o', 'size=2m,mode=0700', 'morch-test', disk);
  disks.push(disk);
  const go = join(agents.directory, `go-${disks.length}`);
  const agent = await agents.start({ dataDir });
  const command = ['sh', '-c', `until [ -e ${go} ]; do sleep 0.02; done; exit 7`];
  await agent.start({ command, instanceId: 'end.0', restart: { policy: 'never' } });
  return { agent, disk, go };
}

function fill(disk: string): string {
  const path = join(disk, 'filling');
  try {
    for (;;) writeFileSync(path, Buffer.alloc(4096), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return path;
}

/** What is left of the last block of its records: tombstones, which are smaller than the end of what has run. */
async function fillRecords(agent: TestAgent): Promise<void> {
  for (let uid = 0; ; uid += 1) {
    const { status } = await agent.stop({ instanceId: 'never.0', uid: `never-${uid}`, generation: 1 });
    if (status === 507) return;
  }
}

const ENDED = { status: 'failed', pid: null, lost: false, exit: { code: 7, signal: null } };

testAsRoot(
  `full: the end is told, and known after a restart of the agent${why}`,
  async () => {
    const { agent, disk, go } = await begin();
    const filling = fill(disk);
    await fillRecords(agent);
    writeFileSync(go, '');
    expect(await agent.untilStatus('end.0', 'failed')).toMatchObject(ENDED);
    await until(() => shimsOf(agent.dataDir).length === 0, { what: 'the shim has left: room for its record was kept' });
    await agent.kill('SIGKILL');
    rmSync(filling);
    const next = await agents.restart(agent);
    expect(await next.untilStatus('end.0', 'failed')).toMatchObject(ENDED);
    await next.kill('SIGTERM');
  },
  60_000,
);

testAsRoot(
  `read-only: the end is told, its shim stays until it is recorded${why}`,
  async () => {
    const { agent, disk, go } = await begin();
    run('mount', '-o', 'remount,ro', disk);
    writeFileSync(go, '');
    expect(await agent.untilStatus('end.0', 'failed')).toMatchObject(ENDED);
    expect(shimsOf(agent.dataDir)).toHaveLength(1);
    run('mount', '-o', 'remount,rw', disk);
    await until(() => shimsOf(agent.dataDir).length === 0, {
      what: 'the shim has recorded it, and left',
      timeoutMs: 10_000,
    });
    await agent.kill('SIGKILL');
    const next = await agents.restart(agent);
    expect(await next.untilStatus('end.0', 'failed')).toMatchObject(ENDED);
    await next.kill('SIGTERM');
  },
  60_000,
);

testAsRoot(
  `read-only under an agent that is killed: its successor asks the shim${why}`,
  async () => {
    const { agent, disk, go } = await begin();
    run('mount', '-o', 'remount,ro', disk);
    await agent.kill('SIGKILL');
    writeFileSync(go, '');
    // The successor itself needs a disk that it can write; the record may be there before it is.
    run('mount', '-o', 'remount,rw', disk);
    const next = await agents.restart(agent);
    expect(await next.untilStatus('end.0', 'failed')).toMatchObject(ENDED);
    await until(() => shimsOf(agent.dataDir).length === 0, { what: 'no shim is left' });
    await next.kill('SIGTERM');
  },
  60_000,
);

testAsRoot(
  `full: a stop is acknowledged once it is recorded, and then it is not undone${why}`,
  async () => {
    const { agent, disk } = await begin();
    await agent.start({ kind: 'service', command: ['sleep', '600'], instanceId: 'web.0' });
    const filling = fill(disk);
    await fillRecords(agent);
    expect(await agent.stop({ instanceId: 'web.0' })).toMatchObject({
      status: 507,
      body: { code: 'STORE_UNWRITABLE' },
    });
    expect(await agent.instance('web.0')).toMatchObject({ status: 'stopped', pid: null });
    rmSync(filling);
    await until(async () => (await agent.stop({ instanceId: 'web.0' })).status === 200, {
      what: 'the stop is acknowledged',
      timeoutMs: 10_000,
    });
    await agent.kill('SIGKILL');
    const next = await agents.restart(agent);
    expect(await next.instance('web.0')).toMatchObject({ status: 'stopped', run: 1 });
    await next.kill('SIGTERM');
  },
  60_000,
);
