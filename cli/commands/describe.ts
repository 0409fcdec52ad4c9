/** `morch describe`: all about one workload or one node. */
import type { Command } from 'commander';
import type { MorchEvent } from '../../contract/events';
import type { NodeDetail } from '../../contract/node';
import type { Instance, Limits, Workload } from '../../contract/workload';
import { clientOf } from '../client';
import {
  addOutputOptions,
  type Column,
  type OutputOptions,
  outputOptionsOf,
  paintStatus,
  print,
  renderFields,
  renderOne,
  renderTable,
  visible,
} from '../output';
import { loadWorkload } from '../progress';
import { formatBytes, formatCpu, formatMs } from '../quantities';
import { nodePath, resolveAny, workloadPath } from '../resolve';
import { ago, eventLine, INSTANCE_COLUMNS, nodeStatusText, programText } from '../tables';

const EVENTS_SHOWN = 10;

export function registerDescribe(program: Command): void {
  const command = program
    .command('describe')
    .description('all about a workload or a node')
    .argument('<id>', "workload or node id, or a unique beginning; node/<id> for a node that has a workload's name")
    .addHelpText('after', '\nExamples:\n  $ morch describe web\n  $ morch describe node/n1');
  addOutputOptions(command, { list: false }).action(async (typed: string) => {
    const client = clientOf(command);
    const options = outputOptionsOf(command);
    const { sort, id } = await resolveAny(client, typed);
    if (sort === 'node') {
      const node = await client.get<NodeDetail>(nodePath(id));
      print(renderOne(node, options, () => renderNode(node, options)));
      return;
    }
    const workload = await loadWorkload(client, id);
    const events =
      options.format === 'table' ? await client.list<MorchEvent>(`${workloadPath(id)}/history`, 'events') : [];
    print(renderOne(workload, options, () => renderWorkload(workload, events, options)));
  });
}

function renderWorkload(workload: Workload, events: readonly MorchEvent[], options: OutputOptions): string {
  const { restart, stop, resources, placement } = workload;
  const attempts = restart.attempts === 0 ? 'no limit' : `${restart.attempts} attempts`;
  const fields = renderFields([
    ['workload', workload.id],
    ['kind', workload.kind],
    ['status', withReason(workload.status, workload.statusReason, options.colour)],
    ['program', programText(workload)],
    ['directory', workload.cwd ?? ''],
    ['replicas', workload.replicas === undefined ? '' : String(workload.replicas)],
    ['user', workload.user ?? ''],
    ['reserves', reservesText(resources)],
    ['limits', limitsText(workload.limits)],
    ['nice', workload.nice === undefined ? '' : String(workload.nice)],
    ['umask', workload.umask ?? ''],
    ['on disconnect', workload.onDisconnect ?? ''],
    ['placement', [placement.strategy, ...placement.constraints.map(constraintText)].join(', ')],
    [
      'restart',
      `${restart.policy}, ${attempts}, backoff ${formatMs(restart.backoffMs)} to ${formatMs(restart.maxBackoffMs)}`,
    ],
    ['stop', `${stop.signal}, then SIGKILL after ${formatMs(stop.graceMs)}`],
    ['longest run', workload.maxRunMs === undefined ? '' : formatMs(workload.maxRunMs)],
    ['labels', pairs(workload.labels)],
    // Values may be secrets, and -o json has them.
    ['environment', Object.keys(workload.env ?? {}).join(', ')],
    [
      'secrets',
      (workload.secrets ?? []).map(({ name, env, file }) => `${name} as ${env ?? `file ${file}`}`).join(', '),
    ],
    ['version', String(workload.version)],
    ['created', `${workload.createdAt} (${ago(workload.createdAt)} ago)`],
    [
      'updated',
      workload.updatedAt === workload.createdAt ? '' : `${workload.updatedAt} (${ago(workload.updatedAt)} ago)`,
    ],
    ['uid', workload.uid],
  ]);
  const instances = workload.instances ?? [];
  const table = instances.length === 0 ? '' : `\n${renderTable(instances, INSTANCE_COLUMNS, options)}`;
  const last = events.slice(-EVENTS_SHOWN).map((event) => `${visible(eventLine(event))}\n`);
  return `${fields}${table}${last.length === 0 ? '' : `\nlast events:\n${last.join('')}`}`;
}

const NODE_INSTANCE_COLUMNS: readonly Column<Instance>[] = INSTANCE_COLUMNS.filter((column) => column.title !== 'NODE');

function renderNode(node: NodeDetail, options: OutputOptions): string {
  const { usage } = node;
  const fields = renderFields([
    ['node', node.id],
    ['status', withReason(nodeStatusText(node), node.statusReason, options.colour)],
    ['address', `${node.host}:${node.port}`],
    ['last contact', node.lastContactAt === null ? 'never' : `${node.lastContactAt} (${ago(node.lastContactAt)} ago)`],
    [
      'cpu',
      `${formatCpu(node.allocated.cpuMillis)} of ${formatCpu(node.capacity.cpuMillis)} cores reserved${usage === null ? '' : `, ${Math.round(usage.cpuPercent)}% used`}`,
    ],
    [
      'memory',
      `${formatBytes(node.allocated.memoryBytes)} of ${formatBytes(node.capacity.memoryBytes)} reserved${usage === null ? '' : `, ${Math.round(usage.memoryPercent)}% used`}`,
    ],
    ['load', usage === null ? '' : usage.loadAverage.map((load) => load.toFixed(2)).join(' ')],
    ['labels', pairs(node.labels)],
    ['features', node.features.join(', ')],
    ['version', node.version],
    ['instances', String(node.instanceCount)],
  ]);
  return node.instances.length === 0
    ? fields
    : `${fields}\n${renderTable(node.instances, NODE_INSTANCE_COLUMNS, options)}`;
}

function withReason(status: string, reason: string | null, colour: boolean): string {
  return `${colour ? paintStatus(status) : status}${reason === null ? '' : ` (${visible(reason)})`}`;
}

const pairs = (labels: Record<string, string>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${visible(value)}`)
    .join(', ');

function reservesText({ cpuMillis, memoryBytes }: Workload['resources']): string {
  if (cpuMillis === 0 && memoryBytes === 0) return 'nothing';
  return `${formatCpu(cpuMillis)} cores, ${formatBytes(memoryBytes)} each`;
}

/** `0.5 cores, 512MiB memory, 64 processes, 1024 open files`; empty where there are none. */
export function limitsText({ cpuMillis, memoryBytes, pids, openFiles, fileBytes, coreBytes }: Limits = {}): string {
  const limits: [number | undefined, (amount: number) => string][] = [
    [cpuMillis, (amount) => `${formatCpu(amount)} cores`],
    [memoryBytes, (amount) => `${formatBytes(amount)} memory`],
    [pids, (amount) => `${amount} processes`],
    [openFiles, (amount) => `${amount} open files`],
    [fileBytes, (amount) => `files of ${formatBytes(amount)}`],
    [coreBytes, (amount) => `core dumps of ${formatBytes(amount)}`],
  ];
  return limits.flatMap(([amount, text]) => (amount === undefined ? [] : [text(amount)])).join(', ');
}

/** As `submit --constraint` takes it. */
function constraintText({ label, op, values = [] }: Workload['placement']['constraints'][number]): string {
  if (op === 'exists') return label;
  if (op === 'absent') return `!${label}`;
  return `${label}${op === 'in' ? '=' : '!='}${values.join(',')}`;
}
