import { inFlags } from '../../cli/problems';
import { MorchError } from '../../contract/errors';
import { morch } from './morch';

const names = { '/id': '--name', '/env': '--env', '/placement/constraints': '--constraint' };
const told = (...errors: [pointer: string, message: string][]) =>
  inFlags(
    new MorchError('INVALID_INPUT', 'as it came', {
      errors: errors.map(([pointer, message]) => ({ pointer, message })),
    }),
    names,
  ) as MorchError;

describe('invalid input in the words of the flags', () => {
  test.each([
    ['/id', 'is wrong', '--name: is wrong'],
    ['/env/1A~1', 'is wrong', '--env 1A/: is wrong'],
    ['/placement/constraints/0/label', 'is wrong', '--constraint: is wrong'],
    ['/id', '--name must be a label', '--name must be a label'],
    ['/other', 'is wrong', 'as it came'],
    ['', 'is wrong', 'as it came'],
  ])('%s %s', (pointer, message, expected) => {
    expect(told([pointer, message]).message).toBe(expected);
  });

  test('several are counted, and listed by their flags', () => {
    const error = told(['/id', 'a'], ['/env', 'b']);
    expect(error.message).toBe('2 flags are not valid:');
    expect(error.errors).toEqual([
      { pointer: '--name', message: 'a' },
      { pointer: '--env', message: 'b' },
    ]);
  });

  test('other failures are told as they came', () => {
    const error = new MorchError('NOT_POSSIBLE', 'no');
    expect(inFlags(error, names)).toBe(error);
  });
});

describe('flags that cannot be are refused by their names, once:', () => {
  test.each([
    [['scheduler', '--heartbeat', '0'], /'--heartbeat <time>' argument '0' is invalid. It must be from 1ms to 24h/],
    [
      ['scheduler', '--quarantine', '30d'],
      /'--quarantine <time>' argument '30d' is invalid. It must be from 1ms to 24h/,
    ],
    [['scheduler', '--heartbeat', '1ms'], /--heartbeat \(1ms\) must be at least 50ms/],
    [['scheduler', '--stall', '1h'], /--stall \(3600000ms\) must be at most half of --silent-after \(2200ms\)/],
    [['scheduler', '--settle', '1h'], /--settle \(3600000ms\) must be at most half of --silent-after/],
    [
      ['scheduler', '--refused-after', '100ms'],
      /--refused-after \(100ms\) must be at least twice --refused-probe-every \(250ms\)/,
    ],
    [['scheduler', '--data-dir', ''], /--data-dir: /],
    [['agent', '--name', 'No_Label'], /--name: must be a DNS label/],
    [['agent', '--label', 'a b=1'], /--label a b: must be/],
    [['agent', '--advertise', 'nowhere'], /morch agent: --advertise must be HOST:PORT/],
    [['agent', '--cgroup', 'here'], /morch agent: --cgroup must be auto/],
    [['submit', '--command', 'true', '--limit-memory', '1KiB'], /'--limit-memory <amount>'.*It must be at least 1MiB/],
    [['submit', '--command', 'true', '--name', 'No_Label'], /'--name <id>'.*must be a DNS label/],
    [['submit', '--command', 'true', '--cpu', '9999999'], /'--cpu <amount>'.*It must be from 0 to 1000000/],
    [['drain', 'n1', '--deadline', '0'], /'--deadline <duration>'.*It must be from 1ms to 3650d/],
    [['drill', 'n1', '--kind', 'cut', '--for', '0s'], /'--for <duration>'.*It must be from 1ms to 10m/],
    [['scale', 'web', 'many'], /'many' cannot be <n>: it must be a whole number from 0 to 1000000/],
    [['logs', 'web', '--since', 'noon'], /'--since <time>' argument 'noon' is invalid. "noon" must be how long ago/],
  ])('%j', async (args, expected) => {
    // Where nothing can be kept: a part that takes them must not go on.
    const { exitCode, stderr } = await morch(args, { env: { MORCH_DATA_DIR: '/dev/null/none' } });
    expect({ exitCode, stderr }).toEqual({ exitCode: 4, stderr: expect.stringMatching(expected) });
    expect(stderr).not.toMatch(/is not valid|Ms\b/);
    const [first] = stderr.split('\n');
    expect(stderr.split(first!)).toHaveLength(2);
  });
});
