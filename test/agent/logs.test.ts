import { randomUUID } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import type { LogFile } from '../../agent/logFiles';
import { findTail, readLogs } from '../../agent/logs';
import { Agents, type TestAgent } from '../support/agent';
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

/** Follows in the background; `text` grows as it comes. */
function follow(instanceId: string, query = '') {
  const leaving = new AbortController();
  const seen = { text: '', ended: false, leave: () => leaving.abort() };
  const read = async () => {
    const response = await fetch(`${agent.address}/instances/${instanceId}/logs?follow=true${query}`, {
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
  const response = await fetch(`${agent.address}/instances/plain.0/logs?stream=stdout`);
  expect(response.headers.get('content-type')).toContain('text/plain');
  expect(Buffer.from(await response.arrayBuffer())).toEqual(Buffer.from('out\n\xff\0end', 'latin1'));
  expect(await readAll('plain.0', '?stream=stderr')).toBe('err\n');
  expect((await readAll('plain.0', '')).endsWith('err\n')).toBe(true);
});

test('of something that never started are empty', async () => {
  await agent.start({ script: '/nowhere.sh', instanceId: 'never.0' });
  expect(await agent.request('GET', '/instances/never.0/logs')).toMatchObject({ status: 200, body: '' });
  expect(await agent.request('GET', '/instances/never.0/logs?follow=true')).toMatchObject({ status: 200, body: '' });
});

test('hold all runs and generations, oldest first, and the newest ten at most', async () => {
  const restart = { attempts: 2, backoffMs: 1 };
  for (const generation of [1, 2, 3, 4, 5, 6, 7]) {
    const script = 'echo $MORCH_GENERATION.$MORCH_RUN; exit 1';
    await agent.startShell(script, { instanceId: 'kept.0', generation, restart });
    await agent.untilStatus('kept.0', 'failed');
  }
  const runs = [3, 4, 5, 6, 7].flatMap((generation) => [`${generation}.1\n`, `${generation}.2\n`]);
  expect(await readAll('kept.0', '')).toBe(runs.join(''));
  expect(await readAll('kept.0', '?tail=3')).toBe('6.2\n7.1\n7.2\n');
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
  const id = { instanceId: 'gone.0', uid: randomUUID(), generation: 1, clusterId: 'c1', epoch: 1 };
  await own.startShell('echo remembered', id);
  await own.untilStatus('gone.0', 'completed');
  const scheduler = await own.connect('?clusterId=c1&epoch=1');
  scheduler.socket.send(JSON.stringify({ type: 'forget', instances: [{ uid: id.uid, slot: '0', generation: 1 }] }));
  await until(async () => (await own.status()).processes.length === 0, { what: 'it is forgotten' });
  expect((await own.request('GET', '/instances/gone.0/logs')).status).toBe(404);
  expect(await own.logs('gone.0', `?uid=${id.uid}`)).toBe('remembered\n');
  scheduler.close();
});

describe('reading', () => {
  const directory = join(agents.directory, 'files');
  let set = 0;

  function write(contents: string[]): LogFile[] {
    const place = join(directory, String(++set));
    mkdirSync(place, { recursive: true });
    return contents.map((text, index) => {
      const path = join(place, `1.${index + 1}.stdout`);
      writeFileSync(path, text);
      return { path, generation: 1, run: index + 1, stream: 'stdout' };
    });
  }

  async function tailOf(files: LogFile[], tail: number): Promise<string> {
    const request = { list: async () => files, stream: 'all' as const, follow: false, mayGrow: () => false };
    const chunks: Buffer[] = [];
    for await (const chunk of readLogs({ ...request, tail, signal: new AbortController().signal })) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  }

  function expectedTail(text: string, tail: number): string {
    const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
    return tail === 0 ? '' : lines.slice(-tail).join('');
  }

  test('tail counts lines of all files taken as one text', async () => {
    const piece = fc.string({ unit: fc.constantFrom('a', '\n', 'b'), maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 4 }), fc.nat(8), async (contents, tail) => {
        expect(await tailOf(write(contents), tail)).toBe(expectedTail(contents.join(''), tail));
      }),
      { numRuns: 200, seed: 7 },
    );
  });

  test('tail of long lines across blocks', async () => {
    const lines = Array.from({ length: 50 }, (_, i) => `${i}${'x'.repeat(i * 1_000)}\n`);
    const files = write([lines.slice(0, 30).join(''), lines.slice(30).join('')]);
    for (const tail of [1, 5, 20, 21, 49, 50, 51]) {
      expect(await tailOf(files, tail)).toBe(lines.slice(-tail).join(''));
    }
  });

  test('tail touches only as much as it needs', async () => {
    const files = write(['old\n'.repeat(10), 'new\n'.repeat(10)]);
    const offsets = await findTail(files, 3);
    expect([...offsets.values()]).toEqual([28, 40]);
  });

  test('following loses nothing that is written between two looks', async () => {
    const files = write(['']);
    const { path } = files[0]!;
    let growing = true;
    const reading = (async () => {
      let text = '';
      const signal = new AbortController().signal;
      const list = async () => files;
      for await (const chunk of readLogs({ list, stream: 'all', follow: true, mayGrow: () => growing, signal })) {
        text += chunk;
      }
      return text;
    })();
    let written = '';
    for (let i = 0; i < 200; i += 1) {
      appendFileSync(path, `${i}\n`);
      written += `${i}\n`;
      if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    growing = false;
    expect(await reading).toBe(written);
  });
});
