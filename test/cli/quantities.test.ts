import {
  formatAge,
  formatBytes,
  formatCpu,
  formatMs,
  parseCpuMillis,
  parseCpuMillisFlag,
  parseDurationMs,
  parseMemoryBytes,
} from '../../cli/quantities';
import { MorchError } from '../../contract/errors';

describe('quantities that people write', () => {
  test.each([
    ['0', 0],
    ['500ms', 500],
    ['10s', 10_000],
    ['1.5s', 1_500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1m30s', 90_000],
    ['2d', 172_800_000],
  ])('reads the duration %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(['', '10', 's', '-1s', '1 s', '1S', '10sec', '1e3s', 's10'])('refuses the duration "%s"', (text) => {
    expect(() => parseDurationMs(text)).toThrow(MorchError);
  });

  test('names the unit that a bare number lacks', () => {
    expect(() => parseDurationMs('30')).toThrow('give a unit: 30s or 30ms');
  });

  test.each([
    ['0', 0],
    ['1024', 1024],
    ['512MiB', 512 * 1024 ** 2],
    ['1GiB', 1024 ** 3],
    ['1.5GiB', 1.5 * 1024 ** 3],
    ['64MB', 64e6],
    ['64mb', 64e6],
    ['10KB', 10_000],
    ['1TiB', 1024 ** 4],
  ])('reads the memory %s', (text, bytes) => {
    expect(parseMemoryBytes(text)).toBe(bytes);
  });

  test.each(['', 'MiB', '1 GiB', '-1GiB', '512M', '1XiB', '99999999TiB'])('refuses the memory "%s"', (text) => {
    expect(() => parseMemoryBytes(text)).toThrow(MorchError);
  });

  test.each([
    ['250m', 250],
    ['0.5', 500],
    ['2', 2_000],
    ['0', 0],
  ])('reads the CPU %s', (text, millis) => {
    expect(parseCpuMillis(text)).toBe(millis);
  });

  test.each(['', 'm', '1.5m', '-1', '2 cores', '.5'])('refuses the CPU "%s"', (text) => {
    expect(() => parseCpuMillis(text)).toThrow(MorchError);
  });

  test('takes a whole number for --cpu-millis as thousandths', () => {
    expect(['2000', '250m', '0.5'].map(parseCpuMillisFlag)).toEqual([2_000, 250, 500]);
  });
});

describe('quantities that people read', () => {
  test.each([
    [-5_000, '0s'],
    [999, '0s'],
    [59_999, '59s'],
    [60_000, '1m'],
    [192_000, '3m12s'],
    [3_600_000, '1h'],
    [18_180_000, '5h3m'],
    [187_200_000, '2d4h'],
  ])('tells an age of %d ms as %s', (ms, text) => {
    expect(formatAge(ms)).toBe(text);
  });

  test.each([
    [0, '0ms'],
    [12.4, '12ms'],
    [4_020, '4.02s'],
    [10_000, '10s'],
    [61_000, '1m1s'],
  ])('tells a span of %d ms as %s', (ms, text) => {
    expect(formatMs(ms)).toBe(text);
  });

  test.each([
    [0, '0B'],
    [1023, '1023B'],
    [1536, '1.5KiB'],
    [512 * 1024 ** 2, '512MiB'],
    [1024 ** 3, '1GiB'],
    [5000 * 1024 ** 4, '5000TiB'],
  ])('tells %d bytes as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('tells CPU in cores', () => {
    expect([0, 250, 2_000, 1_005].map(formatCpu)).toEqual(['0', '0.25', '2', '1.005']);
  });
});
