/** Secrets on a node: in memory only, of the workload alone, and gone with its generation. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Agents, type TestAgent } from '../support/agent';
import { readRecords } from '../support/agentRecords';
import { memoryOf } from '../support/secretMemory';
import { until } from '../support/until';
import { rangeOf, releaseBelow } from '../support/userRanges';

const agents = new Agents();
let agent: TestAgent;
beforeAll(async () => {
  agent = await agents.start();
});
afterAll(async () => {
  await agents.endAll();
  releaseBelow(agents.directory);
  expect(existsSync(memoryOf(agent.dataDir))).toBe(false);
}, 60_000);

const base64 = (text: string) => Buffer.from(text).toString('base64');
const BOTH = {
  secrets: [
    { name: 'db.password', env: 'DB_PASSWORD' },
    { name: 'tls.key', file: 'server.key' },
  ],
  secretValues: { 'db.password': base64('hunter2 äöü'), 'tls.key': base64('-----BEGIN\n\0\n-----END\n') },
};

async function outputOf(instanceId: string, of = agent): Promise<string> {
  await of.untilStatus(instanceId, 'completed');
  return (await of.request('GET', `/instances/${instanceId}/logs`)).body;
}

test('are what was given, byte for byte', async () => {
  const show = 'printf "%s\\n" "$DB_PASSWORD"; od -An -c "$MORCH_SECRETS/server.key"; ls "$MORCH_SECRETS"; pwd';
  const { status } = await agent.startShell(show, { instanceId: 'show.0', ...BOTH });
  expect(status).toBe(201);
  const output = await outputOf('show.0');
  expect(output).toMatch(/^hunter2 äöü\n +- +- +- +- +- +B .*\\0.*\nserver\.key\n/s);
});

test('are nowhere in the data directory, and gone from memory once their generation has ended', async () => {
  const more = { ...BOTH.secretValues, 'db.password': base64('canary-of-this-test') };
  const program = { kind: 'service', ...BOTH, secretValues: more };
  await agent.startShell('exec sleep 600', { instanceId: 'web.0', uid: 'web', ...program });
  const directory = join(memoryOf(agent.dataDir), 'web.0.1');
  expect(readFileSync(join(directory, 'files', 'server.key'), 'latin1')).toBe('-----BEGIN\n\0\n-----END\n');
  expect(modesIn(directory)).toEqual({ '.': '711', 'env.json': '600', files: '700', 'files/server.key': '400' });
  expect(JSON.parse(readFileSync(join(directory, 'env.json'), 'utf8'))).toEqual({ DB_PASSWORD: 'canary-of-this-test' });
  const kept = readdirSync(agent.dataDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(kept.length).toBeGreaterThan(3);
  for (const { parentPath, name } of kept) {
    expect(readFileSync(join(parentPath, name), 'latin1')).not.toMatch(/canary-of-this|Y2FuYXJ5LW9mL|LS0tLS1CRUdJT/);
  }
  const intent = (await readRecords(agent.dataDir)).get('web.0.1')!.intent as { spec: { secrets: object } };
  expect(intent.spec.secrets).toEqual(BOTH.secrets);
  await agent.stop({ instanceId: 'web.0' });
  expect(existsSync(directory)).toBe(false);
});

function modesIn(directory: string): Record<string, string> {
  const names = ['.', ...(readdirSync(directory, { recursive: true }) as string[])];
  return Object.fromEntries(names.map((name) => [name, (lstatSync(join(directory, name)).mode & 0o777).toString(8)]));
}

test('of a generation that ended while its agent was away are removed by the next agent', async () => {
  await agent.startShell('exec sleep 600', {
    instanceId: 'gone.0',
    uid: 'gone',
    restart: { policy: 'never' },
    ...BOTH,
  });
  const { pid } = await agent.instance('gone.0');
  await agent.kill('SIGKILL');
  process.kill(pid!, 'SIGKILL');
  mkdirSync(join(memoryOf(agent.dataDir), 'of-nobody.0.1'));
  agent = await agents.restart(agent);
  await agent.untilStatus('gone.0', 'failed');
  await until(() => readdirSync(memoryOf(agent.dataDir)).length === 0, { what: 'nothing is left in memory' });
});

test('of a start that cannot be are not kept', async () => {
  const { status } = await agent.start({ command: ['/nonexistent'], instanceId: 'no.0', uid: 'no', ...BOTH });
  expect(status).toBe(422);
  expect(existsSync(join(memoryOf(agent.dataDir), 'no.0.1'))).toBe(false);
});

test.each([
  ['without a value', { secretValues: {} }, /has no value for the secret db\.password/],
  ['with a NUL in a variable', { secretValues: { ...BOTH.secretValues, 'db.password': base64('a\0b') } }, /has a NUL/],
  ['with a value that is not base64', { secretValues: { ...BOTH.secretValues, 'tls.key': 'hunter2!' } }, /base64/i],
  ['for a variable that env has too', { env: { DB_PASSWORD: 'x' } }, /one value only/],
  ['in a file elsewhere', { secrets: [{ name: 'tls.key', file: '../x' }] }, /file name/],
  ['in two files of one name', { secrets: [BOTH.secrets[1], BOTH.secrets[1]] }, /same "file"/],
  ['as one of ours', { secrets: [{ name: 'tls.key', env: 'MORCH_X' }] }, /MORCH_/],
])('are refused %s', async (_what, wrong, why) => {
  const { status, body } = await agent.start({ command: ['true'], instanceId: 'bad.0', ...BOTH, ...wrong });
  expect([status, body.code]).toEqual([400, 'INVALID_INPUT']);
  expect(body.detail).toMatch(why);
  expect(JSON.stringify(body)).not.toContain('hunter2');
});

test('a body that is no JSON is refused without a word of it', async () => {
  const { body } = await agent.request('POST', '/start', '{"secretValues": hunter2}', {
    'Content-Type': 'application/json',
  });
  expect(body.code).toBe('BAD_JSON');
  expect(JSON.stringify(body)).not.toContain('hunter2');
});

const isRoot = process.geteuid?.() === 0;
const testAsRoot = isRoot ? test : test.skip;

const userRange = rangeOf(8);
testAsRoot.each([
  ['that its spec names', { user: 'nobody' }],
  ['of its own', {}],
])(
  'of another user than the agent, %s: it reads its own file, and nothing else, and changes nothing there',
  async (_which, named) => {
    const other = await agents.start({ runAs: 'own', userRange, allowUsers: ['nobody'] });
    const script = `
      cat "$MORCH_SECRETS/server.key" > /dev/null && echo read
      cat "$MORCH_SECRETS/../env.json" 2>/dev/null || echo 'no variables'
      ls "$MORCH_SECRETS/../.." 2>/dev/null || echo 'no list'
      touch "$MORCH_SECRETS/more" 2>/dev/null || echo 'no writing'
      rm -f "$MORCH_SECRETS/server.key" 2>/dev/null || echo 'no removing'
      echo "$DB_PASSWORD"
      until [ -e go ]; do sleep 0.02; done`;
    const started = await other.startShell(script, { instanceId: 'user.0', uid: 'user', ...named, ...BOTH });
    const files = join(memoryOf(other.dataDir), 'user.0.1', 'files');
    const { uid, gid } = lstatSync(join(files, 'server.key'));
    expect(uid).not.toBe(0);
    expect(lstatSync(files)).toMatchObject({ uid: 0, gid });
    mkdirSync(join(readlinkSync(`/proc/${started.body.pid}/cwd`), 'go'));
    const said = 'read\nno variables\nno list\nno writing\nno removing\nhunter2 äöü\n';
    expect(await outputOf('user.0', other)).toBe(said);
    await other.end();
  },
);

testAsRoot('are not put where somebody else has made the directory', async () => {
  const dataDir = join(agents.directory, 'squatted');
  const memory = memoryOf(dataDir);
  symlinkSync(agents.directory, memory);
  try {
    const squatted = await agents.start({ dataDir });
    expect((await squatted.request('GET', '/status?processes=false')).body.features).not.toContain('secrets');
    const { status, body } = await squatted.start({ command: ['true'], ...BOTH });
    expect([status, body.code, body.detail]).toEqual([422, 'FEATURE_UNSUPPORTED', expect.stringContaining('/dev/shm')]);
    expect(squatted.stderr).toContain("is not a directory of this agent's alone, but a symbolic link of uid 0");
    await squatted.end();
  } finally {
    rmSync(memory);
  }
});

test('have their directory from the start of the agent on until its orderly end, also while there is none', async () => {
  const other = await agents.start();
  const memory = memoryOf(other.dataDir);
  expect(modesIn(memory)).toEqual({ '.': '711' });
  await other.end();
  expect(existsSync(memory)).toBe(false);
});

test('keep their directory over an agent that leaves a workload running, which could take the name', async () => {
  let other = await agents.start({ onExit: 'keep' });
  const memory = memoryOf(other.dataDir);
  await other.startShell('exec sleep 600', { instanceId: 'stays.0', uid: 'stays' });
  await other.end();
  expect(modesIn(memory)).toEqual({ '.': '711' });
  other = await agents.restart(other);
  await other.stop({ instanceId: 'stays.0' });
  await other.end();
  expect(existsSync(memory)).toBe(false);
});

testAsRoot('a workload cannot take the directory away from its node', async () => {
  const other = await agents.start({ runAs: 'own', userRange });
  const memory = memoryOf(other.dataDir);
  const taking = `mkdir -m 777 ${memory} || echo 'no making'; rmdir ${memory} || mv ${memory} ${memory}.x || echo 'no taking'`;
  await other.startShell(taking, { instanceId: 'thief.0', uid: 'thief', restart: { policy: 'never' } });
  await other.untilStatus('thief.0', 'completed');
  expect(await outputOf('thief.0', other)).toMatch(/no making\n(.*\n)*no taking\n/);
  const { status } = await other.startShell('cat "$MORCH_SECRETS/server.key" > /dev/null', {
    instanceId: 'after.0',
    uid: 'after',
    restart: { policy: 'never' },
    ...BOTH,
  });
  expect(status).toBe(201);
  await other.untilStatus('after.0', 'completed');
  await other.end();
});

testAsRoot('where somebody else has put something in place of the directory, it is named and left alone', async () => {
  const other = await agents.start();
  const memory = memoryOf(other.dataDir);
  await other.startShell('exec sleep 600', { instanceId: 'had.0', uid: 'had', ...BOTH });
  // As after somebody has emptied /dev/shm.
  const elsewhere = join(agents.directory, 'elsewhere');
  mkdirSync(join(elsewhere, 'had.0.1', 'files'), { recursive: true });
  writeFileSync(join(elsewhere, 'had.0.1', 'env.json'), '{"DB_PASSWORD":"foreign"}');
  writeFileSync(join(elsewhere, 'had.0.1', 'files', 'server.key'), 'foreign');
  rmSync(memory, { recursive: true });
  symlinkSync(elsewhere, memory);
  try {
    const link = await other.start({ command: ['true'], instanceId: 'new.0', uid: 'new', ...BOTH });
    expect(link).toMatchObject({ status: 507, body: { code: 'STORE_UNWRITABLE', errnoCode: 'EEXIST' } });
    expect(link.body.detail).toContain(
      `${memory} is not a directory of this agent's alone, but a symbolic link of uid 0`,
    );
    await other.stop({ instanceId: 'had.0' });
    expect(readFileSync(join(elsewhere, 'had.0.1', 'files', 'server.key'), 'utf8')).toBe('foreign');
    rmSync(memory);
    mkdirSync(memory);
    chmodSync(memory, 0o777);
    chownSync(memory, 65534, 65534);
    const taken = await other.start({ command: ['true'], instanceId: 'new.0', uid: 'new', ...BOTH });
    expect(taken.body.detail).toContain('but a directory of uid 65534, mode 777. Remove it');
  } finally {
    rmSync(memory, { recursive: true });
  }
  const { status } = await other.start({ command: ['true'], instanceId: 'new.0', uid: 'new', ...BOTH });
  expect(status).toBe(201);
  await other.end();
});
