import { createServer } from 'node:net';
import { request } from 'undici';
import { LinePrefixer } from '../../../scheduler/http/linePrefixer';
import { until } from '../../support/until';
import { publish } from '../events/events';
import { FakeAgent } from './fakeAgent';
import { type Served, serveFake } from './serve';

let served: Served;
const agents: FakeAgent[] = [];

async function newAgent(port?: number): Promise<FakeAgent> {
  const agent = await FakeAgent.start(port);
  agents.push(agent);
  return agent;
}
beforeEach(async () => {
  served = await serveFake();
});
afterEach(async () => {
  await served.close();
  for (const agent of agents.splice(0)) await agent.stop();
});

const source = (instanceId: string, ...nodes: ReturnType<FakeAgent['node']>[]) => ({ instanceId, uid: 'u1', nodes });

async function logs(query = '') {
  const { statusCode, headers, body, trailers } = await request(`${served.url}/workloads/web/logs${query}`);
  const bytes = Buffer.from(await body.arrayBuffer());
  return { statusCode, headers, bytes, text: bytes.toString(), trailers };
}

/** A following under way: what has come so far, and whether it has ended. */
async function follow(query = '') {
  const left = new AbortController();
  const answer = await request(`${served.url}/workloads/web/logs?follow=true${query}`, { signal: left.signal });
  const state = { text: '', ended: false };
  answer.body.on('data', (chunk) => {
    state.text += chunk;
  });
  answer.body.on('end', () => {
    state.ended = true;
  });
  answer.body.on('error', () => {});
  return { state, headers: answer.headers, trailers: answer.trailers, leave: () => left.abort() };
}

const placed = (instance: string, generation: number) =>
  publish(served.store, served.events, 1, { type: 'instance.placed', workload: 'web', instance, generation });
const started = (instance: string, generation: number) =>
  publish(served.store, served.events, 1, { type: 'instance.started', workload: 'web', instance, generation });

describe('the logs of one instance', () => {
  it('are the bytes as written, whatever they are', async () => {
    const agent = await newAgent();
    const bytes = Buffer.from([0, 255, 10, 13, 10, 128, 65]);
    agent.write('web.0', bytes);
    served.api.sources = [source('web.0', agent.node('n1'))];
    const answer = await logs();
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([200, 'text/plain; charset=utf-8']);
    expect(answer.bytes).toEqual(bytes);
    expect(answer.headers['x-morch-incomplete']).toBeUndefined();
  });

  it('are those of all its nodes, oldest first', async () => {
    const [a, b] = [await newAgent(), await newAgent()];
    a.write('web.0', 'old\n');
    b.write('web.0', 'new\n');
    served.api.sources = [source('web.0', a.node('n1'), b.node('n2'))];
    expect((await logs()).text).toBe('old\nnew\n');
    expect((await logs('?tail=1')).text).toBe('new\n');
    expect((await logs('?tail=2')).text).toBe('old\nnew\n');
  });

  it('are empty where nothing was ever started', async () => {
    const agent = await newAgent();
    for (const sources of [[], [source('web.0')], [source('web.0', agent.node('n1'))]]) {
      served.api.sources = sources;
      const answer = await logs();
      expect([answer.statusCode, answer.text, answer.headers['x-morch-incomplete']]).toEqual([200, '', undefined]);
    }
  });

  it('are asked for with stream, tail and uid', async () => {
    const agent = await newAgent();
    agent.write('web.0', '1\n2\n3\n');
    served.api.sources = [source('web.0', agent.node('n1'))];
    expect((await logs('?stream=stderr&tail=2')).text).toBe('2\n3\n');
    expect(agent.requests.at(-1)).toBe('/instances/web.0/logs?uid=u1&stream=stderr&tail=2');
  });

  it('are asked for with a time, the same for every agent and question', async () => {
    const agent = await newAgent();
    agent.write('web.0', '1\n');
    agent.write('web.1', '2\n');
    served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
    const beforeMs = Date.now();
    await logs('?since=10m&tail=2');
    const times = agent.requests.map((url) => new URL(url, 'http://agent').searchParams.get('since'));
    expect(times.length).toBeGreaterThan(3);
    expect(new Set(times).size).toBe(1);
    const atMs = Date.parse(times[0]!);
    expect(atMs).toBeGreaterThanOrEqual(beforeMs - 600_000);
    expect(atMs).toBeLessThanOrEqual(Date.now() - 600_000);
    await logs('?since=2026-01-31T08:00:00%2B01:00');
    expect(agent.requests.at(-1)).toContain('since=2026-01-31T07%3A00%3A00.000Z');
  });

  it.each(['since=yesterday', 'since=10', 'since=2026-99-01T00:00:00Z', 'tail=-1', 'tail=all', 'stream=both'])(
    'are refused with %s',
    async (query) => {
      served.api.sources = [];
      const { statusCode, text } = await logs(`?${query}`);
      const { errors } = JSON.parse(text);
      expect([statusCode, errors[0].pointer]).toEqual([400, `/${query.split('=')[0]}`]);
      expect(errors[0].message).toMatch(/such as|one of/);
    },
  );

  it('come with the sum of what was dropped', async () => {
    const [a, b] = [await newAgent(), await newAgent()];
    a.write('web.0', 'a\n');
    b.write('web.1', 'b\n');
    served.api.sources = [source('web.0', a.node('n1')), source('web.1', b.node('n2'))];
    expect((await logs()).headers['x-morch-dropped-bytes']).toBeUndefined();
    a.droppedBytes = 100;
    b.droppedBytes = 23;
    const { headers, trailers } = await logs('?tail=1');
    expect(headers['x-morch-dropped-bytes']).toBe('123');
    expect(trailers['x-morch-dropped-bytes']).toBeUndefined();
  });

  it('tell in the trailer what was dropped by instances too many to ask beforehand', async () => {
    const agent = await newAgent();
    const ids = Array.from({ length: 100 }, (_, i) => `web.${i}`);
    for (const id of ids) agent.write(id, 'x\n');
    agent.droppedBytes = 1;
    served.api.sources = ids.map((id) => source(id, agent.node('n1')));
    const { headers, trailers } = await logs();
    expect([headers['x-morch-dropped-bytes'], trailers['x-morch-dropped-bytes']]).toEqual(['64', '100']);
  });

  it('are had by name, or 404', async () => {
    const agent = await newAgent();
    agent.write('web.1', 'one\n');
    served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
    expect((await logs('?instance=web.1')).text).toBe('one\n');
    expect((await logs('?instance=web.7')).statusCode).toBe(404);
  });
});

describe('the logs of several instances', () => {
  it('have the instance before each line, one instance after another', async () => {
    const [a, b] = [await newAgent(), await newAgent()];
    a.write('web.0', 'a1\na2\n\nno end');
    b.write('web.1', 'b1\n');
    served.api.sources = [source('web.0', a.node('n1')), source('web.1', b.node('n2'))];
    expect((await logs()).text).toBe('web.0 a1\nweb.0 a2\nweb.0 \nweb.0 no end\nweb.1 b1\n');
  });

  it.each([
    [0, ''],
    [1, 'web.2 c1\n'],
    [2, 'web.1 b2\nweb.2 c1\n'],
    [3, 'web.1 b1\nweb.1 b2\nweb.2 c1\n'],
    [4, 'web.0 a2\nweb.1 b1\nweb.1 b2\nweb.2 c1\n'],
    [99, 'web.0 a1\nweb.0 a2\nweb.1 b1\nweb.1 b2\nweb.2 c1\n'],
  ])('have a tail of %i lines in all', async (tail, expected) => {
    const agent = await newAgent();
    agent.write('web.0', 'a1\na2\n');
    agent.write('web.1', 'b1\nb2');
    agent.write('web.2', 'c1\n');
    served.api.sources = ['web.0', 'web.1', 'web.2'].map((id) => source(id, agent.node('n1')));
    expect((await logs(`?tail=${tail}`)).text).toBe(expected);
  });
});

describe('a node', () => {
  it('that cannot be reached, refuses or hangs is named, and the rest shown all the same', async () => {
    const [up, broken, hung] = [await newAgent(), await newAgent(), await newAgent()];
    for (const agent of [up, broken, hung]) agent.write('web.0', 'x\n');
    up.write('web.1', 'shown\n');
    broken.status = 500;
    hung.hangs = true;
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    served.api.sources = [
      source(
        'web.0',
        broken.node('broken'),
        hung.node('hung'),
        up.node('known-lost', false),
        { id: 'refusing', host: '127.0.0.1', port, reachable: true },
        { id: 'no-such-host', host: 'morch.invalid', port, reachable: true },
      ),
      source('web.1', up.node('up')),
    ];
    const answer = await logs();
    expect([answer.statusCode, answer.text]).toEqual([200, 'web.1 shown\n']);
    expect(answer.headers['x-morch-incomplete']).toBe('broken,hung,known-lost,no-such-host,refusing');
  });

  it('that breaks off in the middle is named in the trailer', async () => {
    const agent = await newAgent();
    agent.write('web.0', Buffer.alloc(32 << 20, 'x\n'));
    agent.write('web.1', 'rest\n');
    served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
    const { body, trailers } = await request(`${served.url}/workloads/web/logs`);
    let text = '';
    for await (const chunk of body) {
      if (text === '') agent.breakOff();
      text += chunk;
    }
    expect(text.endsWith('web.1 rest\n')).toBe(true);
    expect(trailers['x-morch-incomplete']).toBe('n1');
  });
});

describe('back-pressure', () => {
  it('reaches the agent: a client that does not read makes nobody read ahead', async () => {
    const agent = await newAgent();
    agent.write('web.0', Buffer.alloc(64 << 20, 'x'));
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { body } = await request(`${served.url}/workloads/web/logs`, { highWaterMark: 1024 });
    const [connection] = await until(() => served.sockets(), { what: 'there is a connection' });
    await until(() => connection!.writableLength > 0, { what: 'bytes wait for the client' });
    expect(connection!.writableLength).toBeLessThan(2 << 20);
    expect(agent.open).toBe(1);
    let size = 0;
    for await (const chunk of body) size += chunk.length;
    expect(size).toBe(64 << 20);
  });

  it('ends at the agent when the client leaves', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'x\n', true);
    agent.write('web.1', 'y\n', true);
    served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
    const following = await follow();
    await until(() => agent.open === 2 && following.state.text.length === 16, { what: 'both are followed' });
    following.leave();
    await until(() => agent.open === 0, { what: 'the agent is left' });
  });
});

describe('following', () => {
  it('shows lines as they come, whole and never mixed, and ends when the workload does', async () => {
    const [a, b] = [await newAgent(), await newAgent()];
    a.write('web.0', 'a1\n', true);
    b.write('web.1', 'b1\nb', true);
    served.api.sources = [source('web.0', a.node('n1')), source('web.1', b.node('n2'))];
    const { state } = await follow();
    await until(() => state.text.length === 18, { what: 'the first lines are there' });
    a.write('web.0', 'a2\n', true);
    await until(() => state.text.endsWith('web.0 a2\n'), { what: 'a line came through' });
    b.write('web.1', '2\n', true);
    await until(() => state.text.endsWith('web.1 b2\n'), { what: 'a line that came in two parts is whole' });
    a.write('web.0', 'a3\n');
    b.write('web.1', 'b3');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(state.text.split('\n').sort()).toEqual(
      ['', 'web.0 a1', 'web.0 a2', 'web.0 a3', 'web.1 b1', 'web.1 b2', 'web.1 b3'].sort(),
    );
  });

  it('begins with the tail of the whole', async () => {
    const agent = await newAgent();
    agent.write('web.0', '1\n2\n', true);
    agent.write('web.1', '3\n', true);
    served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
    const { state } = await follow('&tail=2');
    await until(() => state.text.length === 16, { what: 'the tail is there' });
    expect(state.text.split('\n').sort()).toEqual(['', 'web.0 2', 'web.1 3']);
    agent.write('web.0', '4\n');
    agent.end('web.1');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(state.text.endsWith('web.0 4\n')).toBe(true);
  });

  it('of an ended workload gives all and ends', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'all\n');
    served.api.sources = [source('web.0', agent.node('n1'))];
    served.api.endWorkload();
    const { state } = await follow();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(state.text).toBe('all\n');
  });

  it('waits for an instance that is not placed yet', async () => {
    const agent = await newAgent();
    served.api.sources = [source('web.0')];
    const { state } = await follow();
    served.api.sources = [source('web.0', agent.node('n1'))];
    await placed('web.0', 1);
    await until(() => agent.requests.length > 0, { what: 'the agent is asked' });
    agent.write('web.0', 'begun\n', true);
    await started('web.0', 1);
    await until(() => state.text === 'begun\n', { what: 'its first line is there' });
    agent.end('web.0');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
  });

  it('misses nothing of an instance that starts and ends at once', async () => {
    const agent = await newAgent();
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { state } = await follow();
    await until(() => agent.requests.length >= 2, { what: 'the agent had nothing yet' });
    agent.write('web.0', 'brief\n');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(state.text).toBe('brief\n');
  });

  it('goes on at the node an instance moves to, though the old one is silent without closing', async () => {
    const [a, b] = [await newAgent(), await newAgent()];
    a.write('web.0', 'on a\n', true);
    b.write('web.0', 'on b\n', true);
    served.api.sources = [source('web.0', a.node('n1'))];
    const { state } = await follow();
    await until(() => state.text === 'on a\n', { what: 'the first node is followed' });
    served.api.sources = [source('web.0', a.node('n1'), b.node('n2'))];
    await placed('web.0', 2);
    await until(() => state.text === 'on a\non b\n', { what: 'the second node is followed', timeoutMs: 10_000 });
    await until(() => a.open === 0, { what: 'the first node is left' });
    b.end('web.0');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
  });

  it('shows a new start on the same node without repeating what was there', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'first\n', true);
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { state } = await follow();
    await until(() => state.text === 'first\n', { what: 'the first run is shown' });
    agent.end('web.0');
    await until(() => agent.open === 0, { what: 'the agent has ended its following' });
    agent.write('web.0', 'second\n', true);
    await started('web.0', 2);
    await until(() => state.text === 'first\nsecond\n', { what: 'the second run is shown' });
    agent.end('web.0');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(state.text).toBe('first\nsecond\n');
  });

  it('outlasts an agent that restarts', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'before\n', true);
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { state } = await follow();
    await until(() => state.text === 'before\n', { what: 'the first line is shown' });
    const { port } = agent;
    await agents.splice(0)[0]!.stop();
    const again = await newAgent(port);
    again.write('web.0', 'before\nafter\n', true);
    await until(() => state.text === 'before\nafter\n', { what: 'it goes on where it was', timeoutMs: 10_000 });
    again.end('web.0');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
  });

  it.each(['', '&tail=2'])(
    'goes on after a break without a byte missing or twice, also when files were removed%s',
    async (query) => {
      const agent = await newAgent();
      agent.write('web.0', 'one\ntwo, ', true);
      agent.write('web.1', 'other\n', true);
      served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
      const { state } = await follow(query);
      await until(() => agent.requests.filter((url) => url.includes('follow')).length === 2, {
        what: 'both are followed',
      });
      agent.prune('web.0', 6);
      agent.breakOff();
      agent.write('web.0', 'its end\nthree\n', true);
      await until(() => state.text.endsWith('web.0 three\n'), { what: 'it goes on', timeoutMs: 10_000 });
      expect(state.text.split('\n').filter((line) => line.startsWith('web.0'))).toEqual([
        ...(query === '' ? ['web.0 one'] : []),
        'web.0 two, its end',
        'web.0 three',
      ]);
      for (const id of ['web.0', 'web.1']) agent.end(id);
      served.api.endWorkload();
      await until(() => state.ended, { what: 'the following has ended' });
    },
  );

  it('shows instances that are added, with names from then on', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'alone\n', true);
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { state } = await follow();
    await until(() => state.text === 'alone\n', { what: 'the first line is shown' });
    agent.write('web.1', 'added\n', true);
    served.api.sources = [source('web.0', agent.node('n1')), source('web.1', agent.node('n1'))];
    await placed('web.1', 1);
    await until(() => state.text === 'alone\nweb.1 added\n', { what: 'the new one is shown' });
    agent.write('web.0', 'no longer\n');
    agent.end('web.1');
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(state.text).toBe('alone\nweb.1 added\nweb.0 no longer\n');
  });

  it('ends although an agent keeps silent and does not end, once the workload has', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'x\n', true);
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { state } = await follow();
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended', timeoutMs: 10_000 });
    expect(state.text).toBe('x\n');
  });

  it('names in the trailer a node that was gone in the end', async () => {
    const agent = await newAgent();
    agent.write('web.0', 'x\n', true);
    served.api.sources = [source('web.0', agent.node('n1'))];
    const { state, trailers } = await follow();
    await until(() => state.text === 'x\n', { what: 'the first line is shown' });
    await agents.splice(0)[0]!.stop();
    served.api.endWorkload();
    await until(() => state.ended, { what: 'the following has ended' });
    expect(trailers['x-morch-incomplete']).toBe('n1');
  });
});

describe('a line prefixer', () => {
  it('cuts a line without end rather than keep it', () => {
    const prefixer = new LinePrefixer('web.0');
    const pieces: Buffer[] = [];
    for (let i = 0; i < 1_024; i++) pieces.push(prefixer.push(Buffer.alloc(1_000, 'x')));
    pieces.push(prefixer.end());
    const lines = Buffer.concat(pieces).toString().trimEnd().split('\n');
    expect(lines.every((line) => line.startsWith('web.0 x') && line.length <= 64 * 1024 + 1_006)).toBe(true);
    expect(lines.join('').replaceAll('web.0 ', '')).toHaveLength(1_024_000);
  });

  it('gives the same however the bytes are cut', () => {
    const text = Buffer.from('one\n\ntwo\nthree');
    for (let cut = 0; cut <= text.length; cut++) {
      const prefixer = new LinePrefixer('a.0');
      const parts = [prefixer.push(text.subarray(0, cut)), prefixer.push(text.subarray(cut)), prefixer.end()];
      expect(Buffer.concat(parts).toString()).toBe('a.0 one\na.0 \na.0 two\na.0 three\n');
    }
  });
});
