/** The columns of what is listed: nodes, workloads, instances, events, tokens, contexts, secrets. */
import type { Token } from '../contract/access';
import type { MorchEvent } from '../contract/events';
import type { Node } from '../contract/node';
import type { Secret } from '../contract/secrets';
import type { Instance, Workload } from '../contract/workload';
import type { Column, Listing } from './output';
import { formatAge, formatBytes, formatCpu } from './quantities';
import { isUp } from './waiting';

export function ago(at: string | null | undefined, nowMs = Date.now()): string {
  return at === null || at === undefined ? '-' : formatAge(nowMs - Date.parse(at));
}

const labelText = (labels: Record<string, string>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',') || '-';

const percent = (value: number | undefined): string => (value === undefined ? '-' : `${Math.round(value)}%`);

/** `healthy`, `healthy,cordoned`, `healthy,draining` */
export function nodeStatusText(node: Pick<Node, 'status' | 'schedulable' | 'drain'>): string {
  if (node.drain !== 'none') return `${node.status},${node.drain}`;
  return node.schedulable || node.status !== 'healthy' ? node.status : `${node.status},cordoned`;
}

export const NODES: Listing<Node> = {
  noun: 'node',
  id: (node) => node.id,
  columns: [
    { title: 'NODE', value: (node) => node.id },
    { title: 'STATUS', value: nodeStatusText, status: true },
    { title: 'INSTANCES', value: (node) => String(node.instanceCount), align: 'right' },
    {
      title: 'CPU RESERVED',
      value: (node) => `${formatCpu(node.allocated.cpuMillis)}/${formatCpu(node.capacity.cpuMillis)}`,
      align: 'right',
    },
    {
      title: 'MEMORY RESERVED',
      value: (node) => `${formatBytes(node.allocated.memoryBytes)}/${formatBytes(node.capacity.memoryBytes)}`,
      align: 'right',
    },
    { title: 'CPU', value: (node) => percent(node.usage?.cpuPercent), align: 'right', volatile: true },
    { title: 'MEMORY', value: (node) => percent(node.usage?.memoryPercent), align: 'right', volatile: true },
    { title: 'LAST CONTACT', value: (node) => ago(node.lastContactAt), align: 'right', volatile: true },
    { title: 'ADDRESS', value: (node) => `${node.host}:${node.port}`, wide: true },
    { title: 'VERSION', value: (node) => node.version, wide: true },
    { title: 'LABELS', value: (node) => labelText(node.labels), wide: true },
    { title: 'FEATURES', value: (node) => node.features.join(',') || '-', wide: true },
    { title: 'REASON', value: (node) => node.statusReason ?? '' },
  ],
};

/** `2/3`: running of all. */
export function readyText(workload: Pick<Workload, 'counts'>): string {
  const total = Object.values(workload.counts).reduce((sum, count) => sum + count, 0);
  return `${workload.counts.running ?? 0}/${total}`;
}

export function programText(workload: Pick<Workload, 'script' | 'command' | 'args'>): string {
  return [
    ...(workload.script === undefined ? [] : [workload.script]),
    ...(workload.command ?? []),
    ...(workload.args ?? []),
  ]
    .map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : JSON.stringify(word)))
    .join(' ');
}

export const WORKLOADS: Listing<Workload> = {
  noun: 'workload',
  id: (workload) => workload.id,
  columns: [
    { title: 'WORKLOAD', value: (workload) => workload.id },
    { title: 'KIND', value: (workload) => workload.kind },
    { title: 'STATUS', value: (workload) => workload.status, status: true },
    { title: 'RUNNING', value: readyText, align: 'right' },
    { title: 'NODE', value: (workload) => workload.node ?? '-' },
    { title: 'ATTEMPTS', value: (workload) => String(workload.attempts), align: 'right' },
    { title: 'AGE', value: (workload) => ago(workload.createdAt), align: 'right', volatile: true },
    { title: 'PID', value: (workload) => String(workload.pid ?? '-'), align: 'right', wide: true },
    { title: 'VERSION', value: (workload) => String(workload.version), align: 'right', wide: true },
    { title: 'LABELS', value: (workload) => labelText(workload.labels), wide: true },
    { title: 'PROGRAM', value: programText, wide: true },
    { title: 'REASON', value: (workload) => (isUp(workload) ? '' : (workload.statusReason ?? '')) },
  ],
};

/** `exit 42`, `SIGSEGV`, `SIGKILL (out of memory)`, `unknown`; `-` while no run has ended. */
export function exitText(exit: Instance['exit']): string {
  if (exit === null) return '-';
  if (exit.signal === null && exit.code === null) return 'unknown';
  return `${exit.signal ?? `exit ${exit.code}`}${exit.oomKilled ? ' (out of memory)' : ''}`;
}

/** `3.1`: generation and run, which order all starts of an instance; `-` before the first placement. */
const generationText = ({ generation, run }: Instance): string => (generation === 0 ? '-' : `${generation}.${run}`);

export const INSTANCE_COLUMNS: readonly Column<Instance>[] = [
  { title: 'INSTANCE', value: (instance) => instance.id },
  { title: 'STATUS', value: (instance) => instance.status, status: true },
  { title: 'NODE', value: (instance) => instance.node ?? '-' },
  { title: 'PID', value: (instance) => String(instance.pid ?? '-'), align: 'right' },
  { title: 'SHIM', value: (instance) => String(instance.shimPid ?? '-'), align: 'right' },
  { title: 'GENERATION', value: generationText, align: 'right' },
  { title: 'ATTEMPTS', value: (instance) => String(instance.attempts), align: 'right' },
  { title: 'STARTED', value: (instance) => ago(instance.startedAt), align: 'right', volatile: true },
  { title: 'CPU', value: (instance) => percent(instance.usage?.cpuPercent), align: 'right', volatile: true },
  {
    title: 'MEMORY',
    value: (instance) => (instance.usage === null ? '-' : formatBytes(instance.usage.memoryBytes)),
    align: 'right',
    volatile: true,
  },
  { title: 'LAST EXIT', value: (instance) => exitText(instance.exit) },
  { title: 'REASON', value: (instance) => instance.statusReason ?? '' },
];

/** `2026-11-23T20:49:41.123Z  #12  instance.started  web.0  on n1  pid=42` */
export function eventLine(event: MorchEvent): string {
  const subject = event.instance ?? event.workload ?? '';
  const data = Object.entries(event.data)
    .filter(([key, value]) => key !== 'uid' && value !== null && value !== undefined)
    .map(([key, value]) => `${key}=${wordOf(key === 'exit' ? exitText(value as Instance['exit']) : value)}`);
  return [
    event.at,
    `#${event.seq}`,
    event.type,
    subject === '' ? (event.node ?? '') : subject,
    subject !== '' && event.node !== undefined ? `on ${event.node}` : '',
    event.generation === undefined ? '' : `generation=${event.generation}`,
    ...data,
  ]
    .filter((part) => part !== '')
    .join('  ');
}

const wordOf = (value: unknown): string => (typeof value === 'string' ? quoted(value) : JSON.stringify(value));

const quoted = (text: string): string => (/^[^\s"]+$/.test(text) ? text : JSON.stringify(text));

export const SECRETS: Listing<Secret> = {
  noun: 'secret',
  id: (secret) => secret.name,
  columns: [
    { title: 'SECRET', value: (secret) => secret.name },
    { title: 'VERSION', value: (secret) => String(secret.version), align: 'right' },
    { title: 'AGE', value: (secret) => ago(secret.updatedAt), volatile: true, align: 'right' },
    { title: 'READABLE', value: (secret) => (secret.readable ? 'yes' : 'no: sealed under another secret.key') },
    { title: 'USED BY', value: (secret) => secret.usedBy.join(',') || '-' },
  ],
};

export const TOKENS: Listing<Token> = {
  noun: 'token',
  id: (token) => token.id,
  columns: [
    { title: 'ID', value: (token) => token.id },
    { title: 'NAME', value: (token) => token.name },
    { title: 'ROLE', value: (token) => token.role },
    { title: 'AGE', value: (token) => ago(token.createdAt), align: 'right', volatile: true },
    { title: 'EXPIRES', value: (token) => token.expiresAt ?? 'never' },
    {
      title: 'USES',
      value: ({ role, uses, maxUses }) => (role === 'join' ? `${uses}${maxUses === null ? '' : `/${maxUses}`}` : '-'),
      align: 'right',
    },
    { title: 'LAST USED', value: (token) => ago(token.lastUsedAt), align: 'right', volatile: true },
  ],
};

export interface ContextRow {
  name: string;
  current: boolean;
  address: string;
  tokenFile: string | undefined;
  caFile: string | undefined;
}

export const CONTEXTS: Listing<ContextRow> = {
  noun: 'context',
  id: (context) => context.name,
  columns: [
    { title: '', value: (context) => (context.current ? '*' : '') },
    { title: 'CONTEXT', value: (context) => context.name },
    { title: 'ADDRESS', value: (context) => context.address },
    { title: 'TOKEN FILE', value: (context) => context.tokenFile ?? '-' },
    { title: 'CA FILE', value: (context) => context.caFile ?? '-', wide: true },
  ],
};
