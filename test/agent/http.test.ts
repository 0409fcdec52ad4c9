import { once } from 'node:events';
import { connect } from 'node:net';
import { agentStatusSchema } from '../../contract/agentApi';
import { problemSchema } from '../../contract/errors';
import { Agents, type TestAgent } from '../support/agent';

const agents = new Agents();
let agent: TestAgent;

beforeAll(async () => {
  agent = await agents.start({ labels: { zone: 'a' }, cpuMillis: 1234, memoryBytes: 5_000_000 });
});
afterAll(() => agents.endAll());

const JSON_TYPE = { 'Content-Type': 'application/json' };
const big = (bytes: number) => JSON.stringify({ command: ['true', 'x'.repeat(bytes)] });

describe('what cannot be right', () => {
  test.each<[string, string, string, unknown, Record<string, string>, number, string]>([
    ['an unknown route', 'GET', '/nothing', undefined, {}, 404, 'NOT_FOUND'],
    ['a route with a slash too many', 'GET', '/status/', undefined, {}, 404, 'NOT_FOUND'],
    ['a path that looks like a host', 'GET', '//status', undefined, {}, 404, 'NOT_FOUND'],
    ['a wrong method', 'DELETE', '/status', undefined, {}, 405, 'METHOD_NOT_ALLOWED'],
    ['an unknown parameter', 'GET', '/status?depth=1', undefined, {}, 400, 'INVALID_INPUT'],
    ['a bad parameter', 'GET', '/status?processes=maybe', undefined, {}, 400, 'INVALID_INPUT'],
    ['a parameter given twice', 'GET', '/status?processes=true&processes=true', undefined, {}, 400, 'INVALID_INPUT'],
    ['a parameter where none is taken', 'GET', '/livez?x=1', undefined, {}, 400, 'INVALID_INPUT'],
    ['a malformed escape', 'GET', '/instances/%zz/logs', undefined, {}, 400, 'INVALID_INPUT'],
    ['logs of nobody', 'GET', '/instances/nobody.0/logs', undefined, {}, 404, 'INSTANCE_NOT_FOUND'],
    ['logs by a path', 'GET', '/instances/x.0/logs?uid=../../x', undefined, {}, 400, 'INVALID_INPUT'],
    ['a bad stream', 'GET', '/instances/a.0/logs?stream=stdin', undefined, {}, 400, 'INVALID_INPUT'],
    ['a bad tail', 'GET', '/instances/a.0/logs?tail=-1', undefined, {}, 400, 'INVALID_INPUT'],
    ['events without WebSocket', 'GET', '/events', undefined, {}, 400, 'INVALID_INPUT'],
    ['no body', 'POST', '/start', '', JSON_TYPE, 400, 'BAD_JSON'],
    ['no JSON', 'POST', '/start', '{', JSON_TYPE, 400, 'BAD_JSON'],
    ['no object', 'POST', '/start', '[]', JSON_TYPE, 400, 'INVALID_INPUT'],
    ['another type', 'POST', '/start', '{}', { 'Content-Type': 'text/plain' }, 415, 'NOT_JSON'],
    ['a compressed body', 'POST', '/start', '{}', { ...JSON_TYPE, 'Content-Encoding': 'gzip' }, 415, 'NOT_JSON'],
    ['neither script nor command', 'POST', '/start', {}, {}, 400, 'INVALID_INPUT'],
    ['both', 'POST', '/start', { script: '/a', command: ['a'] }, {}, 400, 'INVALID_INPUT'],
    ['an empty command', 'POST', '/start', { command: [] }, {}, 400, 'INVALID_INPUT'],
    ['an empty program name', 'POST', '/start', { command: [''] }, {}, 400, 'INVALID_INPUT'],
    ['a relative script', 'POST', '/start', { script: 'job.sh' }, {}, 400, 'INVALID_INPUT'],
    ['a NUL character', 'POST', '/start', { command: ['a\0b'] }, {}, 400, 'INVALID_INPUT'],
    ['an unknown field', 'POST', '/start', { command: ['true'], colour: 'red' }, {}, 400, 'INVALID_INPUT'],
    ['a variable of ours', 'POST', '/start', { command: ['true'], env: { MORCH_X: '1' } }, {}, 400, 'INVALID_INPUT'],
    ['a bad variable', 'POST', '/start', { command: ['true'], env: { '1A': '1' } }, {}, 400, 'INVALID_INPUT'],
    ['a bad id', 'POST', '/start', { command: ['true'], instanceId: 'web' }, {}, 400, 'INVALID_INPUT'],
    ['a bad uid', 'POST', '/start', { command: ['true'], uid: '../x' }, {}, 400, 'INVALID_INPUT'],
    ['generation 0', 'POST', '/start', { command: ['true'], generation: 0 }, {}, 400, 'INVALID_INPUT'],
    ['a bad signal', 'POST', '/start', { command: ['true'], stop: { signal: 'SIGNOPE' } }, {}, 400, 'INVALID_INPUT'],
    ['a negative duration', 'POST', '/start', { command: ['true'], maxRunMs: -1 }, {}, 400, 'INVALID_INPUT'],
    ['an empty batch', 'POST', '/start', { instances: [] }, {}, 400, 'INVALID_INPUT'],
    ['one of a batch', 'POST', '/start', { instances: [{ command: ['true'] }, {}] }, {}, 400, 'INVALID_INPUT'],
    ['a command over 256 KiB', 'POST', '/start', big(300 * 1024), JSON_TYPE, 413, 'BODY_TOO_LARGE'],
    ['no JSON over 256 KiB', 'POST', '/start', 'x'.repeat(300 * 1024), JSON_TYPE, 413, 'BODY_TOO_LARGE'],
    ['a body over 8 MiB', 'POST', '/start', big(9 * 1024 ** 2), JSON_TYPE, 413, 'BODY_TOO_LARGE'],
    ['a stop of nothing', 'POST', '/stop', {}, {}, 400, 'INVALID_INPUT'],
    ['a stop of two', 'POST', '/stop', { instanceId: 'a.0', pid: 1 }, {}, 400, 'INVALID_INPUT'],
    ['a stop of nobody', 'POST', '/stop', { instanceId: 'nobody.0' }, {}, 404, 'INSTANCE_NOT_FOUND'],
    ['a stop of init', 'POST', '/stop', { pid: 1 }, {}, 404, 'PROCESS_NOT_FOUND'],
  ])('%s', async (_what, method, path, body, headers, status, code) => {
    const answer = await agent.request(method, path, body, headers);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    const problem = problemSchema.parse(answer.body);
    expect(problem).toMatchObject({ status, code });
    expect(problem.requestId).toBe(answer.headers.get('x-request-id'));
    expect((await agent.request('GET', '/livez')).status).toBe(200);
  });

  test('a wrong method is told the right ones', async () => {
    expect((await agent.request('PUT', '/start', {})).headers.get('allow')).toBe('POST');
    expect((await agent.request('POST', '/status', {})).headers.get('allow')).toBe('GET, HEAD');
  });

  test('invalid fields are all named', async () => {
    const { body } = await agent.start({ command: ['true'], maxRunMs: 0, more: 1, restart: { attempts: -1 } });
    const pointers = body.errors.map(({ pointer }: { pointer: string }) => pointer).sort();
    expect(pointers).toEqual(['/maxRunMs', '/more', '/restart/attempts']);
    expect(body.errors.every(({ message }: { message: string }) => message !== '')).toBe(true);
  });

  test('what is not HTTP', async () => {
    const socket = connect(agent.port, '127.0.0.1');
    socket.write('NONSENSE\r\n\r\n');
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    await once(socket, 'close');
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('"code":"INVALID_INPUT"');
  });
});

test('a request id given is given back', async () => {
  const answer = await agent.request('GET', '/livez', undefined, { 'X-Request-Id': 'mine-1' });
  expect(answer.headers.get('x-request-id')).toBe('mine-1');
  expect((await agent.request('GET', '/livez')).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
});

test('status is as the contract says', async () => {
  await agent.start({ command: ['sleep', '600'], instanceId: 'sleeper.0' });
  const { body } = await agent.request('GET', '/status');
  const status = agentStatusSchema.strict().parse(body);
  expect(status).toMatchObject({
    name: agent.name,
    clusterId: null,
    epoch: 0,
    features: ['secrets'],
    labels: { zone: 'a' },
    capacity: { cpuMillis: 1234, memoryBytes: 5_000_000 },
  });
  expect(status.system.memoryTotalBytes).toBeGreaterThan(status.system.memoryAvailableBytes);
  expect(status.processes).toHaveLength(1);
  expect((await agent.request('GET', '/status?processes=false')).body.processes).toBeUndefined();
  await agent.stop({ instanceId: 'sleeper.0' });
});

test('HEAD answers without a body', async () => {
  const answer = await agent.fetch('/status', { method: 'HEAD' });
  expect(answer.status).toBe(200);
  expect(await answer.text()).toBe('');
});
