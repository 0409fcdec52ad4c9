/** The table of what came of all runs: a line per scenario. */
import { findingsOf, type RunResult } from './suite';

const HEAD = [
  'scenario',
  'runs',
  'seeds',
  'verdict ms',
  'recovery ms',
  'fenced ms',
  'gap ms',
  'overlap ms',
  'double',
  'lost',
  'false',
  'other',
];

/**
 * Milliseconds are median / 99th percentile / maximum (number). The gap is the least between two generations of a fenced
 * instance on different nodes; overlaps are those that are allowed.
 */
export function tableOf(results: readonly RunResult[]): string {
  const scenarios = [...new Set(results.map(({ scenario }) => scenario))];
  const rows = scenarios.map((name) => rowOf(results.filter(({ scenario }) => scenario === name)));
  const widths = HEAD.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  return [HEAD, ...rows]
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function rowOf(results: readonly RunResult[]): string[] {
  const judgements = results.flatMap(({ judgement }) => (judgement === null ? [] : [judgement]));
  const count = (of: 'doubleRuns' | 'losses' | 'falseVerdicts'): number =>
    judgements.reduce((sum, judgement) => sum + judgement[of].length, 0);
  const leftOver = results.reduce((sum, one) => sum + one.leftOver.length, 0);
  const all = results.reduce((sum, one) => sum + findingsOf(one).length, 0);
  const [doubles, losses, falses] = [count('doubleRuns'), count('losses') + leftOver, count('falseVerdicts')];
  return [
    results[0]!.scenario,
    String(results.length),
    seedsOf(results.map(({ seed }) => seed)),
    spread(judgements.flatMap(({ verdictMs }) => verdictMs)),
    spread(judgements.flatMap(({ recoveryMs }) => recoveryMs)),
    spread(judgements.flatMap(({ fencedRecoveryMs }) => fencedRecoveryMs)),
    leastOf(judgements.flatMap(({ leastFenceGapMs }) => leastFenceGapMs ?? [])),
    spread(judgements.flatMap(({ overlaps }) => overlaps.filter(({ allowed }) => allowed).map(({ ms }) => ms))),
    ...[doubles, losses, falses, all - doubles - losses - falses].map(String),
  ];
}

function seedsOf(seeds: readonly number[]): string {
  const [first, last] = [seeds[0]!, seeds.at(-1)!];
  return first === last ? String(first) : `${first}-${last}`;
}

function leastOf(values: readonly number[]): string {
  return values.length === 0 ? '-' : `≥ ${Math.round(Math.min(...values))}`;
}

function spread(values: readonly number[]): string {
  if (values.length === 0) return '-';
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => Math.round(sorted[Math.ceil(share * sorted.length) - 1]!);
  return `${at(0.5)} / ${at(0.99)} / ${at(1)} (${sorted.length})`;
}
