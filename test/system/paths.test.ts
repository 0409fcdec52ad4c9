/** No id, and no link in the place of a log, leads a scheduler, or an agent by way of it, to what is elsewhere. */
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SCHEDULER_ROUTES } from '../../contract/routes';
import { Cluster } from '../support/cluster';
import { IN_FIELDS, IN_URLS, requestRaw } from '../support/traversal';

const CANARY = 'root:canary:0:0';
let cluster: Cluster;
let canary: string;
beforeAll(async () => {
  cluster = await Cluster.start(1);
  canary = join(cluster.directory, 'canary');
  writeFileSync(canary, `${CANARY}\n`);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

/** Beside the logs of the parts, and what they have in their data directories. */
const around = () => readdirSync(cluster.directory).sort();
const insideOf = (part: string) =>
  execFileSync('find', [join(cluster.directory, part), '-not', '-path', '*/store/*', '-not', '-name', '*.tmp'], {
    encoding: 'utf8',
  })
    .split('\n')
    .sort();

const routesWithId = SCHEDULER_ROUTES.filter(({ path }) => path.includes(':id'));
const shorten = (text: string) => text.slice(0, 40);
/** Not let through, no failure of ours, and not for want of a right. */
const REFUSED = [400, 404, 405];

test('there are routes with ids', () => {
  expect(routesWithId.length).toBeGreaterThan(10);
});

test.each(IN_URLS.map((id) => [shorten(id), id]))('%s in the place of an id leads nowhere', async (_shown, id) => {
  const before = [around(), insideOf('scheduler'), insideOf('n1')];
  for (const { method, path } of routesWithId) {
    // A body that none of them takes: what is let through by its id would be told that.
    const body = ['POST', 'PUT'].includes(method) ? { isNothing: true } : undefined;
    const headers = { authorization: `Bearer ${cluster.tokens.admin}` };
    const asked = { address: cluster.url, method, path: path.replace(':id', id), headers };
    const { status, text } = await requestRaw(asked, body);
    expect([method, path, REFUSED.includes(status) || status]).toEqual([method, path, true]);
    expect(text).not.toContain(CANARY);
    expect(text).not.toContain('root:x:');
  }
  expect([around(), insideOf('scheduler'), insideOf('n1')]).toEqual(before);
});

test.each(IN_FIELDS.map((text) => [shorten(text), text]))('%j in a field leads nowhere', async (_shown, text) => {
  const before = around();
  const requests: [string, string, object][] = [
    ['POST', '/workloads', { id: text, command: ['true'] }],
    ['POST', '/workloads', { id: `web.${text}`, command: ['true'] }],
    ['POST', '/nodes', { host: '127.0.0.1', port: 1, name: text }],
  ];
  for (const [method, path, body] of requests) {
    const { status } = await cluster.request(method, path, body);
    expect([path, body, REFUSED.includes(status) || status]).toEqual([path, body, true]);
  }
  expect(around()).toEqual(before);
});

test('a link in the place of a log gives nothing of what it leads to', async () => {
  const { uid } = await cluster.submit({ id: 'linked', command: ['echo', 'mine'] });
  await cluster.untilStatus('linked', 'completed');
  const read = async (query = '') => {
    const answer = await cluster.fetch(`/workloads/linked/logs${query}`);
    return [answer.status, await answer.text()];
  };
  expect(await read()).toEqual([200, 'mine\n']);
  const logs = join(cluster.directory, 'n1', 'logs', `${uid}.0`);
  for (const name of readdirSync(logs)) {
    rmSync(join(logs, name));
    symlinkSync(canary, join(logs, name));
  }
  for (const query of ['', '?tail=3', '?since=1h', '?stream=stdout', '?follow=true', '?instance=linked.0']) {
    expect([query, ...(await read(query))]).toEqual([query, 200, '']);
  }
  for (const text of IN_FIELDS) {
    const [status, body] = await read(`?instance=${encodeURIComponent(text)}`);
    expect([shorten(text), [400, 404].includes(status as number) || status]).toEqual([shorten(text), true]);
    expect(body).not.toContain(CANARY);
  }
});
