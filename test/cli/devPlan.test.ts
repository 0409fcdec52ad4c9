import { nextRestartDelayMs } from '../../cli/dev/cluster';
import { shareOut } from '../../cli/dev/machine';

const GIB = 1024 ** 3;

test('agents share the machine equally, less a reserve of memory', () => {
  expect(shareOut({ cpuMillis: 8_000, memoryBytes: 100 * GIB }, 4)).toEqual({
    cpuMillis: 2_000,
    memoryBytes: Math.floor((95 * GIB) / 4),
  });
  expect(shareOut({ cpuMillis: 1_000, memoryBytes: GIB }, 3)).toEqual({
    cpuMillis: 333,
    memoryBytes: Math.floor((GIB - 256 * 1024 ** 2) / 3),
  });
});

test('a part that dies at once is started again later and later', () => {
  const delays = [0];
  for (let death = 0; death < 7; death += 1) delays.push(nextRestartDelayMs(delays.at(-1) ?? 0, 100, 1_000));
  expect(delays.slice(1)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  expect(nextRestartDelayMs(30_000, 60_000, 1_000)).toBe(1_000);
});
