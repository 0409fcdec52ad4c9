/** What would mean something to a shell reaches a program as it was written, and is done by nobody. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { morch } from '../cli/morch';
import { Agents } from '../support/agent';
import { Cluster } from '../support/cluster';
import { fixture } from '../support/fixtures';

jest.setTimeout(60_000);

const directory = mkdtempSync(path.join(tmpdir(), 'morch-argv-'));
const canary = path.join(directory, 'canary');
const touch = `touch ${canary}`;

/** Were one of them given to a shell, a glob, a template or a loader, the canary would be there, or another text come out. */
const META = [
  `$(${touch})`,
  `\`${touch}\``,
  `; ${touch}`,
  `| ${touch}`,
  `|| ${touch}`,
  `&& ${touch}`,
  `& ${touch} &`,
  `\n${touch}\n`,
  `'; ${touch}; '`,
  `"; ${touch}; "`,
  `> ${canary}`,
  `>> ${canary}`,
  `<(${touch})`,
  `{${touch},}`,
  `() { :; }; ${touch}`,
  `a[$(${touch})]`,
  `--eval=require("fs").writeFileSync("${canary}","")`,
  `-c ${touch}`,
  ...[
    '*',
    '?',
    '~',
    '~root',
    '$HOME',
    '\u0024{HOME}',
    '$((1+1))',
    '%PATH%',
    '{a,b}',
    '[a-z]*',
    '!!',
    '#',
    '\\',
    "'",
    '"',
    '',
  ],
  ...['\t', '\r', '\u0007', '\u001b[31m', 'a\\\nb', '\u0024{jndi:ldap://127.0.0.1/x}', '{{7*7}}', '%s%n%x'],
];

const agents = new Agents();
let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(1);
});
afterAll(async () => {
  await cluster?.close();
  await agents.endAll();
  rmSync(directory, { recursive: true });
});
afterEach(() => expect(readdirSync(directory)).toEqual([]));

const program = fixture('print_args');
const joined = (args: readonly string[]) => Buffer.from(args.map((text) => `${text}\0`).join(''));
const outputOf = async (id: string) => {
  await cluster.untilStatus(id, 'completed');
  return Buffer.from(await (await cluster.fetch(`/workloads/${id}/logs`)).arrayBuffer());
};

test('a shell would do what they say', () => {
  spawnSync('/bin/sh', ['-c', `: ${META[0]}`]);
  expect(existsSync(canary)).toBe(true);
  rmSync(canary);
});

test('as arguments of a command and of its args', async () => {
  await cluster.submit({ id: 'command', command: [program, ...META], args: META });
  expect(await outputOf('command')).toEqual(joined([program, ...META, ...META]));
});

test('as arguments of a script, and in its variables', async () => {
  const script = path.join(cluster.directory, 'script.sh');
  writeFileSync(script, '#!/bin/sh\nprintf "%s\\0" "$@" "$VALUE"\n', { mode: 0o755 });
  const value = META.join('');
  await cluster.submit({ id: 'script', script, args: META, env: { VALUE: value } });
  expect(await outputOf('script')).toEqual(joined([...META, value]));
});

test('as the name of a program, or the path of a script or a directory: there is none of that name', async () => {
  const names = META.filter((text) => text !== '');
  for (const [at, text] of names.entries()) {
    const restart = { policy: 'never' };
    const { status } = await cluster.request('POST', '/workloads', { id: `name-${at}`, command: [text], restart });
    expect([text, status]).toEqual([text, 201]);
    const more = { id: `path-${at}`, script: `/bin/true ${text}`, restart };
    expect((await cluster.request('POST', '/workloads', more)).status).toBe(201);
  }
  for (const at of names.keys()) {
    for (const kind of ['name', 'path']) {
      const { statusReason } = await cluster.untilStatus(`${kind}-${at}`, 'failed');
      expect([names[at], statusReason]).toEqual([names[at], expect.stringMatching(/ENOENT|EACCES|EISDIR/)]);
    }
  }
});

test('by the command line', async () => {
  const args = ['submit', '--name', 'cli', '--command', program, '--', ...META];
  const { exitCode, stderr } = await morch(args, { env: cluster.env });
  expect([exitCode, stderr.includes('Error')]).toEqual([0, false]);
  expect(await outputOf('cli')).toEqual(joined([program, ...META]));
});

test('at an agent that is used alone', async () => {
  const agent = await agents.start();
  const { status } = await agent.start({ command: [program, ...META], instanceId: 'alone.0' });
  expect(status).toBe(201);
  await agent.untilStatus('alone.0', 'completed');
  const output = await (await agent.fetch('/instances/alone.0/logs')).arrayBuffer();
  expect(Buffer.from(output)).toEqual(joined([program, ...META]));
});
