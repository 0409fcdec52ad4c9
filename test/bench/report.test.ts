/** What docs/performance.md is made of: saved results, read as targets, tables and charts. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

type Saved = Record<string, unknown> & { flags: Record<string, number> };

const { sectionsOf, chartsOf } = require('../../bench/report.cjs') as {
  sectionsOf(results: Record<string, Saved>): Record<string, string>;
  chartsOf(results: Record<string, Saved>): Record<string, string>;
};
const { TARGETS } = require('../../bench/report/targets.cjs') as { TARGETS: { work: string; from: string }[] };
const { spreadOf } = require('../../bench/harness/statistics.cjs') as { spreadOf(values: number[]): object };

const WORK = '10 % of 5,000 nodes die';

function fleet(values: number[], flags: Record<string, number> = {}): Saved {
  const machine = { cores: 2, cpu: 'a <CPU>', memoryGib: 24, kernel: 'Linux 6', node: 'v20', load: 0.5, loadAfter: 2 };
  return {
    date: '2026-01-02T03:04:05.678Z',
    commit: '0123456789ab',
    command: 'node bench/fleet.cjs --nodes 5000',
    machine,
    flags: { nodes: 5_000, instances: 200_000, runs: values.length, ...flags },
    figures: {
      recoverySeconds: spreadOf(values),
      idleCpuPercent: spreadOf([30]),
      controlCpuPercent: spreadOf([10]),
    },
    failures: [],
    tookSeconds: 90,
    report: ['as it was printed'],
  };
}

function rowOf(results: Record<string, Saved>, work: string): string[] {
  const line = sectionsOf(results)
    ['bench:targets']!.split('\n')
    .find((one) => one.startsWith(`| ${work}`));
  return line!.split('|').map((cell) => cell.trim());
}

test('a target has a row, measured or not', () => {
  for (const { work } of TARGETS) expect(rowOf({}, work)).toContain('not measured yet');
  expect(chartsOf({})).toEqual({});
});

test.each([
  [[7, 9, 5], '7 (5..9)', 'aim'],
  [[12, 25, 11], '12 (11..25)', 'at least'],
  [[21, 22, 10], '21 (10..22)', '**no**'],
])('of %j seconds the median decides what is reached', (values, shown, reached) => {
  expect(rowOf({ 'fleet-5000': fleet(values) }, WORK)).toEqual(expect.arrayContaining([shown, '3', reached]));
});

test('a result of smaller work does not count, and is shown as what it is', () => {
  const results = { 'fleet-5000': fleet([1], { nodes: 100 }) };
  expect(rowOf(results, WORK)).toContain('not measured yet');
  expect(sectionsOf(results)['bench:fleet']).toContain('as it was printed');
});

test('each run is told with its command, commit, machine and failed checks', () => {
  const told = sectionsOf({ 'fleet-5000': { ...fleet([1]), failures: ['a', 'b'] } })['bench:runs'];
  for (const part of [
    'fleet.cjs --nodes 5000',
    '0123456789ab',
    '2 cores of a <CPU>',
    '2026-01-02 03:04',
    '0.5, 2.0',
    '2 failed',
  ])
    expect(told).toContain(part);
});

test('each chart that is drawn is shown, once, and is drawn alike again', () => {
  const results = { 'fleet-5000': fleet([7, 9, 5]) };
  const charts = chartsOf(results);
  expect(Object.keys(charts)).toEqual(['targets.svg', 'fleet.svg']);
  const text = Object.values(sectionsOf(results)).join('\n');
  for (const file of Object.keys(charts)) expect(text.split(`(performance/${file})`)).toHaveLength(2);
  expect(chartsOf(results)).toEqual(charts);
  expect(charts['fleet.svg']!.match(/<rect class="(ours|control)"/g)).toHaveLength(2);
});

test('the page has a place for every section', () => {
  const page = readFileSync(path.join(__dirname, '../../docs/performance.md'), 'utf8');
  for (const name of Object.keys(sectionsOf({}))) expect(page).toContain(`<!-- generated:${name} -->`);
});
