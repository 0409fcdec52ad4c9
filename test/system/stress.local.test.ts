/** Not committed: 100 × kill -9 under 50 workloads, exits of random codes while the agent is down and while it is up. */
import { randomInt, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agents, isAlive, processesOf, zombiesOf } from '../support/agent';
import { startTicksOf } from '../support/fixtures';
import { shimsOf } from '../support/shims';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll(), 60_000);
const ROUNDS = Number(process.env.ROUNDS ?? 100);
const COUNT = 50;
const ENDING = 5;

test('kill -9', async () => {
  let agent = await agents.start();
  const runs = join(agents.directory, 'runs');
  let n = 0;
  const live = new Map<string, { pid: number; startTicks: number; startedAt: string; code: number; go: string }>();
  let exits = 0;
  const readyMs: number[] = [];
  const startOne = async () => {
    const instanceId = `w${++n}.0`;
    const code = randomInt(256);
    const go = join(agents.directory, `${instanceId}.go`);
    const script = `echo "$MORCH_INSTANCE" >> ${runs}; until [ -e ${go} ]; do sleep 0.05; done; exit ${code}`;
    const { status, body } = await agent.startShell(script, {
      instanceId,
      uid: randomUUID(),
      generation: 1,
      restart: { policy: 'never' },
    });
    expect(status).toBe(201);
    live.set(instanceId, { pid: body.pid, startTicks: startTicksOf(body.pid)!, startedAt: body.startedAt, code, go });
  };
  const check = async (ended: Map<string, number>) => {
    await until(
      async () => {
        const { processes } = await agent.status();
        return [...ended.keys()].every((id) =>
          /failed|completed/.test(processes.find((p) => p.instanceId === id)?.status ?? ''),
        );
      },
      { what: 'ended are told' },
    );
    const { processes } = await agent.status();
    const by = new Map(processes.map((p) => [p.instanceId, p]));
    for (const [id, code] of ended) {
      expect(by.get(id)).toMatchObject({ run: 1, lost: false, exit: { code, signal: null } });
      exits++;
    }
    for (const [id, one] of live)
      expect(by.get(id)).toMatchObject({ status: 'running', run: 1, pid: one.pid, startedAt: one.startedAt });
    for (const one of live.values()) expect(startTicksOf(one.pid)).toBe(one.startTicks);
    expect(processes.filter((p) => p.status === 'running')).toHaveLength(live.size);
  };
  const endSome = async () => {
    const ids = [...live.keys()].sort(() => Math.random() - 0.5).slice(0, ENDING);
    const ended = new Map<string, number>();
    for (const id of ids) {
      const one = live.get(id)!;
      ended.set(id, one.code);
      live.delete(id);
      writeFileSync(one.go, '');
      if (Math.random() < 0.5) await until(() => !isAlive(one.pid), { what: 'gone' });
    }
    return ended;
  };
  for (let round = 0; round < ROUNDS; round++) {
    while (live.size < COUNT) await Promise.all(Array.from({ length: Math.min(10, COUNT - live.size) }, startOne));
    const up = Math.random() < 0.3 ? await endSome() : new Map();
    await agent.kill('SIGKILL');
    const down = await endSome();
    const t = performance.now();
    agent = await agents.restart(agent);
    readyMs.push(performance.now() - t);
    await check(new Map([...up, ...down]));
  }
  const lines = existsSync(runs) ? readFileSync(runs, 'utf8').trim().split('\n') : [];
  expect(new Set(lines).size).toBe(lines.length);
  expect(lines.length).toBe(n);
  readyMs.sort((a, b) => a - b);
  console.log({
    rounds: ROUNDS,
    started: n,
    exits,
    ready: { min: readyMs[0], p50: readyMs[readyMs.length >> 1], max: readyMs.at(-1) },
  });
  for (const { go } of live.values()) writeFileSync(go, '');
  await until(
    () =>
      processesOf(agent.name).length === 0 && shimsOf(agent.dataDir).length === 0 && zombiesOf(agent.pid).length === 0,
    { what: 'clean', timeoutMs: 10_000 },
  );
}, 600_000);
