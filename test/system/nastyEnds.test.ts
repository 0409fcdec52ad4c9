/** How nasty programs begin and end: every code, every signal, every refusal of the kernel, told as it was. */
import { closeSync, copyFileSync, mkdirSync, openSync, symlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { InstanceReport } from '../../contract/agentApi';
import { Agents, type TestAgent, zombiesOf } from '../support/agent';
import { FIXTURES, fixture } from '../support/fixtures';
import { until } from '../support/until';

const agents = new Agents();
let agent: TestAgent;
let count = 0;
const ONCE = { restart: { policy: 'never' } };

beforeAll(async () => {
  agent = await agents.start();
}, 30_000);
afterAll(() => agents.endAll(), 30_000);

/** Starts all in one request, and waits until each has ended; by the last part of the instance id. */
async function runAll(name: string, commands: Map<number, string[]>): Promise<Map<number, InstanceReport>> {
  const listener = await agent.connect();
  const instances = [...commands].map(([slot, command]) => ({ ...ONCE, command, instanceId: `${name}.${slot}` }));
  const answer = await agent.start({ instances });
  expect(answer.status).toBe(200);
  expect(answer.body.results.filter(({ pid }: { pid?: number }) => pid === undefined)).toEqual([]);
  const ended = new Map<number, InstanceReport>();
  await until(
    () => {
      for (const { instance } of listener.of('instance')) {
        const isOurs = instance.instanceId.startsWith(`${name}.`) && /^(completed|failed)$/.test(instance.status);
        if (isOurs) ended.set(Number(instance.slot), instance);
      }
      return ended.size === commands.size;
    },
    { what: 'all have ended', timeoutMs: 30_000 },
  );
  listener.close();
  return ended;
}

const nextId = () => `end-${++count}.0`;

async function runOnce(program: object): Promise<{ instanceId: string; output: string }> {
  const instanceId = nextId();
  const answer = await agent.start({ ...ONCE, ...program, instanceId });
  expect(answer).toMatchObject({ status: 201, body: { instanceId, generation: 1, run: 1 } });
  await until(async () => /completed|failed/.test((await agent.instance(instanceId)).status), {
    what: `${instanceId} has ended`,
    timeoutMs: 20_000,
  });
  return { instanceId, output: await agent.logs(instanceId) };
}

describe('every end is told as it was', () => {
  test('exit codes 0 to 255', async () => {
    const program = fixture('exit_with');
    const codes = Array.from({ length: 256 }, (_, code) => code);
    const ended = await runAll('code', new Map(codes.map((code) => [code, [program, String(code)]])));
    for (const code of codes) {
      const status = code === 0 ? 'completed' : 'failed';
      expect(ended.get(code)).toMatchObject({ status, pid: null, exit: { code, signal: null } });
    }
  }, 60_000);

  test('every signal that kills', async () => {
    const { SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH } = constants.signals;
    const harmless = new Set([SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH]);
    const numbers = Array.from({ length: 64 }, (_, index) => index + 1).filter((number) => !harmless.has(number));
    const program = fixture('die_by');
    const ended = await runAll('signal', new Map(numbers.map((number) => [number, [program, String(number)]])));
    const names = numbers.map((number) => {
      expect(ended.get(number)).toMatchObject({ status: 'failed', exit: { code: null } });
      return ended.get(number)!.exit!.signal!;
    });
    expect(new Set(names).size).toBe(numbers.length);
    for (const [index, number] of numbers.entries()) {
      const known = Object.entries(constants.signals).filter(([, of]) => of === number);
      if (known.length > 0) expect(known.map(([name]) => name)).toContain(names[index]);
    }
    expect(names.filter((name) => name.startsWith('SIGRT'))).toHaveLength(31);
  }, 60_000);

  test('late ones, and one whose first thread has ended long before', async () => {
    const late = await runOnce({ command: [fixture('exit_with'), '41', '300'] });
    expect(await agent.instance(late.instanceId)).toMatchObject({ status: 'failed', exit: { code: 41 } });
    const notes = join(agents.directory, 'leader-gone');
    const threaded = await runOnce({ command: [fixture('leader_gone'), notes, '42', '500'] });
    const { startedAt, ...instance } = await agent.instance(threaded.instanceId);
    expect(instance).toMatchObject({ status: 'failed', exit: { code: 42, signal: null } });
    expect(Date.parse(instance.exit!.at) - Date.parse(startedAt!)).toBeGreaterThanOrEqual(450);
    expect(threaded.output).toBe('the other thread goes on\n');
  });
});

test('one that has removed its own directory with all in it is told like any other', async () => {
  const instanceId = nextId();
  const script = 'echo here; rm -rf "$PWD"; exit 6';
  await agent.startShell(script, { instanceId, restart: { attempts: 2, backoffMs: 1 } });
  expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ run: 2, attempts: 2, exit: { code: 6 } });
  expect(await agent.logs(instanceId)).toBe('here\nhere\n');
});

describe('what cannot be executed is refused in the kernel’s words', () => {
  const place = () => {
    const directory = join(agents.directory, 'refused');
    mkdirSync(directory, { recursive: true });
    return directory;
  };
  const looping = () => {
    const path = join(place(), 'loop');
    symlinkSync(path, path);
    return path;
  };

  test.each<[string, () => object, string, string]>([
    ['a file that is not there', () => ({ script: '/no/such/file' }), 'execve', 'ENOENT'],
    ['a script without run bit', () => ({ script: join(FIXTURES, 'no_run_bit.sh') }), 'execve', 'EACCES'],
    ['a directory', () => ({ script: FIXTURES }), 'execve', 'EACCES'],
    ['a directory as command', () => ({ command: [FIXTURES] }), 'execve', 'EACCES'],
    ['a missing interpreter', () => ({ script: join(FIXTURES, 'missing_interpreter.sh') }), 'execve', 'ENOENT'],
    ['carriage returns', () => ({ script: join(FIXTURES, 'carriage_returns.sh') }), 'execve', 'ENOENT'],
    ['a file as a directory', () => ({ script: join(FIXTURES, 'no_run_bit.sh', 'x') }), 'execve', 'ENOTDIR'],
    ['a link to itself', () => ({ script: looping() }), 'execve', 'ELOOP'],
    ['a name that is too long', () => ({ script: `/${'x'.repeat(300)}` }), 'execve', 'ENAMETOOLONG'],
    ['a command that is nowhere', () => ({ command: ['no-such-program'] }), 'execve', 'ENOENT'],
    ['an argument of 200,000 bytes', () => ({ command: ['true', 'x'.repeat(200_000)] }), 'execve', 'E2BIG'],
    ['a variable of 200,000 bytes', () => ({ command: ['true'], env: { A: 'x'.repeat(200_000) } }), 'execve', 'E2BIG'],
    ['a directory that is not there', () => ({ command: ['true'], cwd: '/no/such' }), 'chdir', 'ENOENT'],
    ['a file as its directory', () => ({ command: ['true'], cwd: '/etc/passwd' }), 'chdir', 'ENOTDIR'],
  ])('%s', async (_what, program, syscall, errnoCode) => {
    const instanceId = nextId();
    const answer = await agent.start({ ...ONCE, ...program(), instanceId });
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer).toMatchObject({ status: 422, body: { code: 'START_FAILED', syscall, errnoCode } });
    expect(answer.body.errno).toBe(constants.errno[errnoCode as keyof typeof constants.errno]);
    expect(await agent.instance(instanceId)).toMatchObject({ status: 'failed', pid: null, exit: null });
  });

  test('a file that is being written', async () => {
    const path = join(place(), 'busy');
    copyFileSync('/bin/true', path);
    const fd = openSync(path, 'r+');
    const answer = await agent.start({ ...ONCE, command: [path] });
    closeSync(fd);
    expect(answer).toMatchObject({ status: 422, body: { syscall: 'execve', errnoCode: 'ETXTBSY' } });
    expect((await agent.start({ ...ONCE, command: [path] })).status).toBe(201);
  });
});

describe('what a program is given arrives unchanged', () => {
  test('a script without #! is run by the shell, with its arguments', async () => {
    const script = join(FIXTURES, 'no_interpreter_line.sh');
    const { instanceId, output } = await runOnce({ script, args: ['a b', '$HOME'] });
    expect(output).toBe('ran 2 arguments: a b $HOME\n');
    expect(await agent.instance(instanceId)).toMatchObject({ exit: { code: 5, signal: null } });
  });

  test('100,000 bytes of arguments, whatever is in them', async () => {
    const odd = [
      '',
      ' ',
      '-n',
      '--',
      '$(id)',
      "'",
      '"',
      '\\',
      'a\nb\r\n',
      '\t',
      '*',
      'schön',
      '🧨👩‍👩‍👧',
      '\u{10ffff}',
      '=',
      '\x01\x7f',
    ];
    const many = Array.from({ length: 1_000 }, (_, index) => `${index}:${'x'.repeat(index % 90)}`);
    const args = [...odd, 'y'.repeat(60_000), ...many];
    const command = [fixture('print_args'), ...args];
    expect(Buffer.byteLength(command.join('\0'))).toBeGreaterThan(100_000);
    expect((await runOnce({ command })).output).toBe(`${command.join('\0')}\0`);
  });

  test('an environment with =, line ends and emoji', async () => {
    const env = {
      EQUALS: '=a=b==',
      LINES: 'one\ntwo\r\n\n',
      EMOJI: '🧨 ünïcödé 日本語',
      EMPTY: '',
      SHELL_WORDS: '$(id) `id` $x "\'\\',
      CONTROL: '\x01\x1b[31m\x7f',
      LONG: 'z'.repeat(100_000),
      BASH_FUNC_x: '() { :; }; echo no',
    };
    const { output } = await runOnce({ command: [fixture('print_env')], env });
    const variables = output.split('\0').slice(0, -1);
    for (const [name, value] of Object.entries(env)) expect(variables).toContain(`${name}=${value}`);
    const names = variables.map((variable) => variable.slice(0, variable.indexOf('=')));
    expect(new Set(names).size).toBe(names.length);
    const ours = names.filter((name) => name.startsWith('MORCH_')).sort();
    expect(ours).toEqual(['GENERATION', 'INSTANCE', 'NODE', 'NONCE', 'RUN', 'WORKLOAD'].map((name) => `MORCH_${name}`));
    const others = names.filter((name) => !name.startsWith('MORCH_') && !(name in env)).sort();
    expect(others).toEqual(['HOME', 'LANG', 'PATH', 'USER']);
  });

  test('stdin is empty', async () => {
    const { output, instanceId } = await runOnce({ command: [fixture('reads_stdin')] });
    expect(output).toBe('end after 0 bytes\n');
    expect((await agent.instance(instanceId)).status).toBe('completed');
  });
});

test('nothing of all this is left with the agent', async () => {
  await until(() => zombiesOf(agent.pid).length === 0, { what: 'there is no zombie' });
  expect((await agent.request('GET', '/livez')).status).toBe(200);
  expect((await agent.status()).processes.filter(({ pid }) => pid !== null)).toEqual([]);
});
