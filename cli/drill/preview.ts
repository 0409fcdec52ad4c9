/** What a drill will do, in words, before anybody says yes to it. Pure. */
import { type DrillInput, type DrillPreview, durationOf, type Loss } from '../../contract/drill';
import { visible } from '../output';
import { formatMs } from '../quantities';

/** Of one workload, with the same to come. */
interface Group extends Pick<Loss, 'workload' | 'onDisconnect' | 'fate' | 'reason'> {
  count: number;
}

export function previewText({ node, instances }: Pick<DrillPreview, 'node' | 'instances'>, drill: DrillInput): string {
  const groups = groupsOf(instances);
  const width = Math.max(0, ...groups.map(({ workload }) => workload.length));
  const lines = groups.map(
    (group) =>
      `  ${group.workload.padEnd(width)}  ${group.count} × ${group.onDisconnect}: ${visible(inWords(group, node))}`,
  );
  const count = `${instances.length} ${instances.length === 1 ? 'instance' : 'instances'}`;
  return [failureText(node, drill), instances.length === 0 ? 'Nothing runs there.' : `${count} there:`, ...lines].join(
    '\n',
  );
}

function failureText(node: string, drill: DrillInput): string {
  const durationMs = durationOf(drill);
  if (durationMs === null) {
    return (
      `This kills the agent of ${node} (SIGKILL). What it runs goes on without it. If the agent is not started again before\n` +
      'the verdict (by systemd, say), copies are started elsewhere.'
    );
  }
  return (
    `This cuts the agent of ${node} off for ${formatMs(durationMs)}: it neither sends nor answers anything. What it runs goes on,\n` +
    'with a network of its own. With the verdict, copies are started elsewhere.'
  );
}

function groupsOf(instances: readonly Loss[]): Group[] {
  const groups = new Map<string, Group>();
  for (const { workload, onDisconnect, fate, reason } of instances) {
    const key = JSON.stringify([workload, onDisconnect, fate, reason]);
    const group = groups.get(key) ?? { workload, onDisconnect, fate, reason, count: 0 };
    groups.set(key, { ...group, count: group.count + 1 });
  }
  return [...groups.values()];
}

function inWords({ onDisconnect, fate, reason }: Group, node: string): string {
  switch (fate) {
    case 'waits':
      return `waits for ${node} (${reason})`;
    case 'nowhere':
      return `no other node could take it: ${reason}`;
    case 'ends':
      return 'is being stopped';
    case 'moves':
      return onDisconnect === 'stop'
        ? 'dead when its lease ends, then started elsewhere'
        : 'started elsewhere at the verdict; the old copy runs until the node is heard again';
  }
}
