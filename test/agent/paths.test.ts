/** No id, and no link in the place of a file, leads an agent out of its directories: neither to read nor to write nor to remove. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { indexPath, LogDirectory, logPath } from '../../agent/logs/directory';
import { LogFiles } from '../../agent/logs/files';
import { readLastLines } from '../../agent/logs/lastLines';
import { enforceCap } from '../../agent/logs/upkeep';
import { loadNative } from '../../agent/native/index';
import { PathWork } from '../../agent/pathWork';
import { Records } from '../../agent/records';
import { Agents, type TestAgent } from '../support/agent';
import { IN_FIELDS, IN_URLS, requestRaw } from '../support/traversal';

const paths = new PathWork(loadNative());
const CANARY = 'root:canary:0:0';
const agents = new Agents();
const canary = join(agents.directory, 'canary');
let agent: TestAgent;
beforeAll(async () => {
  writeFileSync(canary, `${CANARY}\n`);
  agent = await agents.start();
}, 30_000);
afterAll(() => agents.endAll(), 30_000);

/** Every file there is beside the agent's own. */
const around = () =>
  execFileSync('find', [agents.directory, '-path', agent.dataDir, '-prune', '-o', '-print'], { encoding: 'utf8' })
    .split('\n')
    .sort();

/** Refused as a bad value or an unknown one: not let through, no failure of ours, and not for want of a right. */
const REFUSED = [400, 404];

const shorten = (text: string) => text.slice(0, 40);

describe('an id', () => {
  test.each(IN_URLS.map((id) => [shorten(id), id]))('%s in a URL leads nowhere', async (_shown, id) => {
    for (const path of [`/instances/${id}/logs`, `/instances/${id}`, `/instances/web.0/logs?uid=${id}`, `/${id}`]) {
      const headers = { authorization: `Bearer ${agent.token}` };
      const { status, text } = await requestRaw({ address: agent.address, method: 'GET', path, headers });
      expect([shorten(path), REFUSED.includes(status)]).toEqual([shorten(path), true]);
      expect(text).not.toContain(CANARY);
      expect(text).not.toContain('root:x:');
    }
  });

  test.each(IN_FIELDS.map((text) => [shorten(text), text]))('%j in a command leads nowhere', async (_shown, text) => {
    const before = around();
    const known = readdirSync(join(agent.dataDir, 'instances'));
    const id = { instanceId: 'web.0', uid: 'u', generation: 1 };
    const commands: [string, object][] = [
      ['/start', { command: ['true'], instanceId: text }],
      ['/start', { command: ['true'], ...id, uid: text }],
      ['/start', { command: ['true'], ...id, node: text }],
      ['/start', { command: ['true'], ...id, instanceId: `web.${text}` }],
      ['/stop', { ...id, uid: text }],
      ['/stop', { ...id, instanceId: text }],
      ['/stop', { ...id, instanceId: `web.${text}` }],
      ['/stop', { instances: [{ ...id, uid: text }] }],
      ['/stop', { instances: [{ ...id, instanceId: `web.${text}` }] }],
    ];
    for (const [path, body] of commands) {
      const { status } = await agent.request('POST', path, body);
      expect([path, body, status]).toEqual([path, body, 400]);
    }
    expect(around()).toEqual(before);
    expect(readdirSync(join(agent.dataDir, 'instances'))).toEqual(known);
  });
});

describe('a link in the place of', () => {
  let count = 0;
  /** An instance that has said something and ended. */
  async function startEnded(): Promise<{ id: string; logs: string; uid: string }> {
    const [id, uid] = [`linked-${++count}.0`, `u-${count}`];
    await agent.startShell('echo mine', { instanceId: id, uid });
    await agent.untilStatus(id, 'completed');
    expect(await agent.logs(id)).toBe('mine\n');
    return { id, uid, logs: join(agent.dataDir, 'logs', `${uid}.0`) };
  }
  const replace = (path: string, target: string) => {
    rmSync(path, { recursive: true });
    symlinkSync(target, path);
  };

  test('a log gives nothing of what it leads to, whatever is asked for', async () => {
    const { id, uid, logs } = await startEnded();
    replace(logPath(logs, 'stdout', 1), canary);
    for (const query of ['', '?tail=5', '?since=1h', '?follow=true', '?stream=stdout', `?uid=${uid}`, '?frames=true']) {
      const answer = await agent.request('GET', `/instances/${id}/logs${query}`);
      expect(answer.status).toBe(200);
      expect(answer.body).not.toContain('canary');
      if (!query.includes('frames')) expect(answer.body).toBe('');
    }
  });

  test('an index gives the log as if it had none', async () => {
    const { id, logs } = await startEnded();
    replace(indexPath(logs, 'stdout', 1), canary);
    expect(await agent.logs(id)).toBe('mine\n');
  });

  test('the directory of its logs gives nothing either, and nothing is written or removed there', async () => {
    const { id, uid, logs } = await startEnded();
    const elsewhere = join(agents.directory, `elsewhere-${uid}`);
    renameSync(logs, elsewhere);
    symlinkSync(elsewhere, logs);
    const before = readdirSync(elsewhere).map((name) => [name, readFileSync(join(elsewhere, name), 'latin1')]);
    expect(await agent.logs(id)).toBe('');
    const { status } = await agent.startShell('echo more', { instanceId: id, uid, logs: { files: 2, maxBytes: 4096 } });
    expect(status).toBe(201);
    await agent.untilStatus(id, 'completed');
    expect(await agent.logs(id)).toBe('');
    expect(readdirSync(elsewhere).map((name) => [name, readFileSync(join(elsewhere, name), 'latin1')])).toEqual(before);
  });

  test('the log that comes next is not written through', async () => {
    const { id, uid, logs } = await startEnded();
    replace(logPath(logs, 'stdout', 1), canary);
    await agent.startShell('echo more', { instanceId: id, uid });
    await agent.untilStatus(id, 'completed');
    expect(readFileSync(canary, 'utf8')).toBe(`${CANARY}\n`);
  });

  test('a log that is a FIFO keeps nobody waiting', async () => {
    const { id, uid, logs } = await startEnded();
    const log = logPath(logs, 'stdout', 1);
    rmSync(log);
    execFileSync('mkfifo', [log]);
    expect(await agent.logs(id)).toBe('');
    const { status } = await agent.startShell('echo more', { instanceId: id, uid });
    expect(status).toBe(201);
    await agent.untilStatus(id, 'completed');
  });

  test('the end of a log is not told to the scheduler', async () => {
    const directory = join(agents.directory, 'tail');
    mkdirSync(directory);
    symlinkSync(canary, logPath(directory, 'stdout', 1));
    expect(await readLastLines(directory, 'stdout', [1])).toBe('');
    const link = join(agents.directory, 'tail-link');
    symlinkSync(directory, link);
    expect(await new LogDirectory(link).numbers()).toEqual({ stdout: [], stderr: [] });
  });

  test('what the upkeep removes is removed itself, and nothing of what it leads to', async () => {
    const dataDir = join(agents.directory, 'upkeep');
    const [logs, elsewhere] = [join(dataDir, 'logs'), join(dataDir, 'elsewhere')];
    for (const directory of [join(logs, 'a.0'), elsewhere]) mkdirSync(directory, { recursive: true });
    writeFileSync(logPath(elsewhere, 'stdout', 1), 'x'.repeat(10_000));
    symlinkSync(elsewhere, join(logs, 'b.0'));
    symlinkSync(logPath(elsewhere, 'stdout', 1), logPath(join(logs, 'a.0'), 'stdout', 1));
    const files = new LogFiles(dataDir, paths);
    await enforceCap(files, new Set(), 1);
    expect(existsSync(logPath(join(logs, 'a.0'), 'stdout', 1))).toBe(false);
    const old = Date.now() / 1_000 - 30 * 86_400;
    for (const name of [elsewhere, logPath(elsewhere, 'stdout', 1)]) utimesSync(name, old, old);
    await files.removeForgotten(new Set(), Date.now() + 30 * 86_400_000);
    // What no agent has made is left alone.
    expect(readdirSync(logs)).toEqual(['b.0']);
    expect(readFileSync(logPath(elsewhere, 'stdout', 1), 'utf8')).toHaveLength(10_000);
  });

  test('a record is not read through, and what would be written instead of it is not written through', async () => {
    const dataDir = join(agents.directory, 'records');
    mkdirSync(dataDir);
    const records = await Records.open(dataDir, paths, pino({ level: 'silent' }));
    const end = {
      ...{
        uid: 'u',
        slot: '0',
        instanceId: 'web.0',
        generation: 1,
        clusterId: null,
        run: 0,
        status: 'stopped' as const,
      },
      ...{
        statusReason: null,
        pid: null,
        shimPid: null,
        startedAt: null,
        exit: null,
        ranMs: 0,
        overranMs: null,
        drops: [],
      },
      ...{ nextRunAt: null, attempts: 0, lost: false, startError: null, started: null },
    };
    await records.saveEnd(end);
    const open = () => Records.open(dataDir, paths, pino({ level: 'silent' }));
    expect(await (await open()).load()).toHaveLength(1);
    const path = join(dataDir, 'instances', 'journal.2'); // written anew by the one above
    const moved = join(agents.directory, 'moved');
    renameSync(path, moved);
    symlinkSync(moved, path);
    expect(await (await open()).load()).toEqual([]);
    const last = await open();
    await last.load();
    for (const number of [2, 3, 4, 5]) symlinkSync(canary, join(dataDir, 'instances', `journal.${number}.tmp`));
    for (const number of [1, 2, 3, 4]) rmSync(join(dataDir, 'instances', `journal.${number}`), { force: true });
    await expect(last.saveEnd(end)).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
    expect(readFileSync(canary, 'utf8')).toBe(`${CANARY}\n`);
  });
});
