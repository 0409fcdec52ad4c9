/** `morch status`: one screen of everything, and what is wrong with reasons. */
import type { Command } from 'commander';
import type { Health, HealthSummary } from '../../contract/health';
import type { Node } from '../../contract/node';
import type { Workload } from '../../contract/workload';
import { type Client, clientOf } from '../client';
import {
  addOutputOptions,
  type OutputOptions,
  outputOptionsOf,
  paintStatus,
  print,
  renderFields,
  renderOne,
} from '../output';
import { describeProgress } from '../progress';
import { formatAge, formatBytes, formatCpu, formatMs } from '../quantities';
import { ago, nodeStatusText } from '../tables';
import { isUp } from '../waiting';
import { watchText } from '../watch';

/** Of each sort of trouble; the lists tell the rest. */
const SHOWN = 10;
const TROUBLED = ['recovering', 'failed', 'pending', 'stopping'] as const;

interface Overview {
  health: Health;
  summary: HealthSummary;
  nodes: Node[];
  troubled: Workload[];
}

export function registerStatus(program: Command): void {
  const command = program
    .command('status')
    .description('the cluster on one screen, with what is wrong')
    .option('-w, --watch', 'go on, redrawing, until Ctrl-C');
  addOutputOptions(command, { list: false })
    .addHelpText('after', '\nExamples:\n  $ morch status\n  $ morch status -w')
    .action(async ({ watch }: { watch?: boolean }) => {
      const options = outputOptionsOf(command);
      const client = clientOf(command);
      const load = async () => {
        const overview = await loadOverview(client);
        const { health, summary } = overview;
        return renderOne({ health, summary }, options, () => renderOverview(overview, client, options));
      };
      if (watch === true) await watchText(load);
      else print(await load());
    });
}

async function loadOverview(client: Client): Promise<Overview> {
  const some = (status: string) =>
    client.get<{ workloads: Workload[] }>('/workloads', { status, limit: SHOWN }).then((page) => page.workloads);
  const [health, summary, nodes, ...troubled] = await Promise.all([
    client.get<Health>('/health'),
    client.get<HealthSummary>('/health/summary'),
    client.list<Node>('/nodes', 'nodes'),
    // Some that run do so in part.
    client
      .get<{ workloads: Workload[] }>('/workloads', { status: 'running', limit: 1_000 })
      .then(({ workloads }) => workloads.filter((workload) => !isUp(workload)).slice(0, SHOWN)),
    ...TROUBLED.map(some),
  ]);
  return { health, summary, nodes, troubled: troubled.flat() };
}

function renderOverview(
  { health, summary, nodes, troubled }: Overview,
  client: Client,
  options: OutputOptions,
): string {
  const paint = (text: string) => (options.colour ? paintStatus(text) : text);
  const counts = (byStatus: Record<string, number | undefined>) =>
    Object.entries(byStatus)
      .filter(([, count]) => (count ?? 0) > 0)
      .map(([status, count]) => `${count} ${paint(status)}`)
      .join(', ') || 'none';
  const { allocated, cpuMillis, memoryBytes } = summary.totals;
  const wrong = [
    ...health.reasons,
    // Nodes that are not healthy are among the reasons.
    ...nodes
      .filter((node) => node.status === 'healthy' && !(node.schedulable && node.drain === 'none'))
      .slice(0, SHOWN)
      .map((node) => `node ${node.id}: ${nodeStatusText(node)}`),
    ...troubled.map((workload) => `workload ${describeProgress(workload)}`),
  ];
  return [
    renderFields([
      [
        'scheduler',
        `${paint(health.status)} at ${client.address.url}, up ${formatAge(health.uptimeMs)}, version ${health.version}, epoch ${health.epoch}`,
      ],
      ['nodes', counts(summary.totals.byStatus)],
      [
        'reserved',
        `${formatCpu(allocated.cpuMillis)} of ${formatCpu(cpuMillis)} cores, ${formatBytes(allocated.memoryBytes)} of ${formatBytes(memoryBytes)}`,
      ],
      ['workloads', counts(summary.workloads.byStatus)],
      ['instances', counts(summary.totals.instances)],
    ]),
    wrong.length === 0 ? '\nnothing is wrong\n' : `\nneeds a look:\n${wrong.map((line) => `  ${line}\n`).join('')}`,
    summary.recentVerdicts.length === 0
      ? ''
      : `\nnodes lost lately:\n${summary.recentVerdicts
          .slice(0, 5)
          .map((v) => `  ${v.node} ${ago(v.at)} ago: silent for ${formatMs(v.silentMs)} (${v.reason})\n`)
          .join('')}`,
  ].join('');
}
