import { randomUUID } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Agents, type TestAgent } from '../support/agent';
import { PlayedScheduler } from '../support/playedScheduler';
import { until } from '../support/until';

const agents = new Agents();
let agent: TestAgent;

beforeAll(async () => {
  agent = await agents.start();
});
afterAll(() => agents.endAll());

async function readAll(instanceId: string, query: string): Promise<string> {
  return (await agent.request('GET', `/instances/${instanceId}/logs${query}`)).body;
}

function directoryOf(uid: string): string {
  return join(agent.dataDir, 'logs', `${uid}.0`);
}

/** Follows in the background; `text` grows as it comes. */
function follow(instanceId: string, query = '') {
  const leaving = new AbortController();
  const seen = { text: '', ended: false, leave: () => leaving.abort() };
  const read = async () => {
    const response = await agent.fetch(`/instances/${instanceId}/logs?follow=true${query}`, {
      signal: leaving.signal,
    });
    const decoder = new TextDecoder();
    for await (const chunk of response.body!) seen.text += decoder.decode(chunk, { stream: true });
    seen.ended = true;
  };
  read().catch(() => {});
  return seen;
}

test('are bytes as written, by stream, and plain text', async () => {
  await agent.startShell('echo out; echo err >&2; printf "\\377\\000end"', { instanceId: 'plain.0' });
  await agent.untilStatus('plain.0', 'completed');
  const response = await agent.fetch('/instances/plain.0/logs?stream=stdout');
  expect(response.headers.get('content-type')).toContain('text/plain');
  expect(Buffer.from(await response.arrayBuffer())).toEqual(Buffer.from('out\n\xff\0end', 'latin1'));
  expect(await readAll('plain.0', '?stream=stderr')).toBe('err\n');
  // Which of the two pipes was read first is the kernel's to say; nothing is torn.
  expect((await readAll('plain.0', '')).replace('err\n', '')).toBe('out\n\ufffd\0end');
});

test('of something that never started are empty', async () => {
  await agent.start({ script: '/nowhere.sh', instanceId: 'never.0' });
  expect(await agent.request('GET', '/instances/never.0/logs')).toMatchObject({ status: 200, body: '' });
  expect(await agent.request('GET', '/instances/never.0/logs?follow=true')).toMatchObject({ status: 200, body: '' });
});

test('hold all runs and generations, oldest first', async () => {
  const restart = { attempts: 2, backoffMs: 1 };
  for (const generation of [1, 2, 3, 4, 5, 6, 7]) {
    const script = 'echo $MORCH_GENERATION.$MORCH_RUN; exit 1';
    await agent.startShell(script, { instanceId: 'kept.0', generation, restart });
    await agent.untilStatus('kept.0', 'failed');
  }
  const runs = [1, 2, 3, 4, 5, 6, 7].flatMap((generation) => [`${generation}.1\n`, `${generation}.2\n`]);
  expect(await readAll('kept.0', '')).toBe(runs.join(''));
  expect(await readAll('kept.0', '?tail=3')).toBe('6.2\n7.1\n7.2\n');
});

test('have both streams in the order in which they were written', async () => {
  const script = 'for i in 1 2 3 4 5; do echo out $i; sleep 0.02; echo err $i >&2; sleep 0.02; done';
  await agent.startShell(script, { instanceId: 'both.0' });
  await agent.untilStatus('both.0', 'completed');
  const lines = [1, 2, 3, 4, 5].flatMap((i) => [`out ${i}\n`, `err ${i}\n`]);
  expect(await readAll('both.0', '')).toBe(lines.join(''));
  expect(await readAll('both.0', '?tail=3')).toBe(lines.slice(-3).join(''));
  expect(await readAll('both.0', '?stream=stderr&tail=1')).toBe('err 5\n');
});

test('begin at a time', async () => {
  await agent.startShell('echo before; sleep 2; echo after', { instanceId: 'timed.0' });
  await agent.untilSaid('timed.0', 'before\n');
  await delay(200);
  const since = new Date().toISOString();
  await agent.untilStatus('timed.0', 'completed');
  expect(await readAll('timed.0', `?since=${since}`)).toBe('after\n');
  expect(await readAll('timed.0', '?since=1h')).toBe('before\nafter\n');
  expect(await readAll('timed.0', '?since=1ms&stream=stderr')).toBe('');
});

test.each(['since=yesterday', 'since=10', 'tail=ten', 'stream=both', 'from=1', 'follow=maybe'])(
  'are refused with %s, which is named',
  async (query) => {
    const { status, body } = await agent.request('GET', `/instances/plain.0/logs?${query}`);
    expect([status, body.errors[0].pointer]).toEqual([400, `/${query.split('=')[0]}`]);
    expect(body.errors[0].message).toMatch(/such as|one of/);
  },
);

test('of an instance keep within its limits, over runs and generations', async () => {
  const uid = randomUUID();
  const limits = { logs: { maxBytes: 4_096, files: 3 } };
  const script = 'i=0; while [ $i -lt 400 ]; do echo $MORCH_GENERATION $i; i=$((i+1)); done; exit 1';
  for (const generation of [1, 2]) {
    const restart = { attempts: 3, backoffMs: 1 };
    await agent.startShell(script, { instanceId: 'limited.0', uid, generation, restart, ...limits });
    await agent.untilStatus('limited.0', 'failed');
  }
  const sizes = readdirSync(directoryOf(uid)).map((name) => statSync(join(directoryOf(uid), name)).size);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(3 * 4_096);
  const lines = (await readAll('limited.0', '')).split('\n').slice(0, -1);
  expect(lines.at(-1)).toBe('2 399');
  expect(lines.length).toBeGreaterThan(400);
  const written = Array.from({ length: 2_400 }, (_, n) => `${n < 1_200 ? 1 : 2} ${n % 400}`);
  expect(lines).toEqual(written.slice(-lines.length));
  await agent.startShell('true', { instanceId: 'limited.0', uid, generation: 3, logs: { maxBytes: 4_096, files: 1 } });
  await agent.untilStatus('limited.0', 'completed');
  expect(readdirSync(directoryOf(uid)).filter((name) => name.endsWith('.log'))).toHaveLength(1);
});

test('follow across rotations, every line once', async () => {
  const script = 'i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done';
  await agent.startShell(`sleep 0.3; ${script}`, { instanceId: 'rotated.0', logs: { maxBytes: 20_000, files: 100 } });
  const following = follow('rotated.0');
  await until(() => following.ended, { what: 'the answer has ended', timeoutMs: 20_000 });
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join('');
  expect(following.text === lines).toBe(true);
  expect((await readAll('rotated.0', '')) === lines).toBe(true);
});

test('follow from the start to the end, through restarts', async () => {
  const script = 'i=0; while [ $i -lt 20 ]; do echo $MORCH_RUN.$i; i=$((i+1)); sleep 0.005; done; exit 1';
  await agent.startShell(script, { instanceId: 'followed.0', restart: { attempts: 3, backoffMs: 20 } });
  const seen = follow('followed.0');
  await until(() => seen.ended, { what: 'the answer has ended', timeoutMs: 15_000 });
  const lines = [1, 2, 3].flatMap((run) => Array.from({ length: 20 }, (_, i) => `${run}.${i}\n`));
  expect(seen.text).toBe(lines.join(''));
  expect((await agent.instance('followed.0')).status).toBe('failed');
});

test('follow with tail begins at the last lines', async () => {
  await agent.startShell('echo a; echo b; echo c; read x < /dev/zero; sleep 600', { instanceId: 'tailed.0' });
  await agent.untilSaid('tailed.0', 'c\n');
  const seen = follow('tailed.0', '&tail=1');
  const fresh = follow('tailed.0', '&tail=0');
  await until(() => seen.text === 'c\n', { what: 'the last line is there' });
  await agent.stop({ instanceId: 'tailed.0', graceMs: 0 });
  await until(() => seen.ended && fresh.ended, { what: 'they have ended' });
  expect(fresh.text).toBe('');
});

test('a reader that leaves is let go', async () => {
  await agent.startShell('yes', { instanceId: 'flood.0' });
  const seen = follow('flood.0');
  await until(() => seen.text.length > 1_000_000, { what: 'a megabyte' });
  seen.leave();
  await agent.stop({ instanceId: 'flood.0' });
  expect((await agent.request('GET', '/livez')).status).toBe(200);
});

test('are still there when the instance has been forgotten, for those who know the uid', async () => {
  const own = await agents.start();
  const scheduler = await PlayedScheduler.connect(own);
  const id = { instanceId: 'gone.0', uid: randomUUID(), generation: 1, ...scheduler.claim };
  await own.startShell('echo remembered', id);
  await own.untilStatus('gone.0', 'completed');
  scheduler.send({ type: 'forget', instances: [{ uid: id.uid, slot: '0', generation: 1 }] });
  await until(async () => (await own.status()).processes.length === 0, { what: 'it is forgotten' });
  expect((await own.request('GET', '/instances/gone.0/logs')).status).toBe(404);
  expect(await own.logs('gone.0', `?uid=${id.uid}`)).toBe('remembered\n');
  scheduler.close();
});
