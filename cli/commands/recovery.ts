/** `morch recovery`: what failed, how fast it was seen and what became of it. */
import type { Command } from 'commander';
import type { Recovery, RecoveryMetrics, Released, Spread } from '../../contract/health';
import { clientOf } from '../client';
import {
  addOutputOptions,
  type Column,
  type OutputOptions,
  outputOptionsOf,
  print,
  renderFields,
  renderOne,
  renderTable,
  say,
} from '../output';
import { formatMs } from '../quantities';

const SHOWN = 20;

/** Since the last contact, the moment the node is taken to have died. */
const after = (recovery: Recovery, at: string | null | undefined): string =>
  at === null || at === undefined
    ? '-'
    : `+${formatMs(Math.max(0, Date.parse(at) - Date.parse(recovery.timeline.lastContactAt)))}`;

const COLUMNS: readonly Column<Recovery>[] = [
  { title: 'INSTANCE', value: (r) => r.instance },
  { title: 'FROM', value: (r) => r.fromNode },
  { title: 'TO', value: (r) => r.toNode ?? '-' },
  { title: 'OUTCOME', value: (r) => r.outcome, status: true },
  { title: 'LAST CONTACT', value: (r) => r.timeline.lastContactAt },
  { title: 'SUSPECT', value: (r) => after(r, r.timeline.suspectAt), align: 'right' },
  { title: 'VERDICT', value: (r) => after(r, r.timeline.verdictAt), align: 'right' },
  { title: 'PLACED', value: (r) => after(r, r.timeline.placedAt), align: 'right' },
  { title: 'STARTED', value: (r) => after(r, r.timeline.startedAt), align: 'right' },
  { title: 'RUNNING', value: (r) => after(r, r.timeline.runningAt), align: 'right' },
];

export function registerRecovery(program: Command): void {
  const command = program
    .command('recovery')
    .description('lost nodes and what was moved off them, with times')
    .option('--release', 'release the brake: start elsewhere what was on nodes that were lost together')
    .addHelpText('after', '\nExamples:\n  $ morch recovery\n  $ morch recovery --release');
  addOutputOptions(command, { list: false }).action(async () => {
    const options = outputOptionsOf(command);
    if (command.opts<{ release?: boolean }>().release === true) {
      const { released } = await clientOf(command).post<Released>('/recovery/release');
      say(released.length === 0 ? 'nothing held recoveries back' : `released: ${released.join(', ')}`);
    }
    const metrics = await clientOf(command).get<RecoveryMetrics>('/recovery/metrics');
    print(renderOne(metrics, options, () => renderRecovery(metrics, options)));
  });
}

function renderRecovery(metrics: RecoveryMetrics, options: OutputOptions): string {
  const { recoveries, recent } = metrics;
  const fields = renderFields([
    ['verdicts', `${metrics.verdicts}, of them false ${metrics.falseVerdicts}`],
    [
      'recoveries',
      `${recoveries.started} started, ${recoveries.succeeded} succeeded, ${recoveries.failed} failed, ${recoveries.inFlight} in flight`,
    ],
    ['success rate', metrics.successRate === null ? '-' : successText(metrics.successRate)],
    ['attempts used', String(metrics.attemptsUsed)],
    ['detection', spreadText(metrics.detectionMs)],
    ['recovery', spreadText(metrics.recoveryMs)],
  ]);
  if (recent.length === 0) return fields;
  return `${fields}\n${renderTable(recent.slice(0, SHOWN), COLUMNS, options)}`;
}

/** A share, told as one: 0 to 1. */
function successText(rate: number): string {
  return `${(rate * 100).toFixed(1).replace(/\.0$/, '')} %`;
}

function spreadText(spread: Spread): string {
  const known = (['last', 'mean', 'p50', 'p95', 'max'] as const).flatMap((key) => {
    const ms = spread[key];
    return ms === null ? [] : [`${key} ${formatMs(ms)}`];
  });
  return known.join(', ') || '-';
}
