/** What happens in a drill, as the scheduler's events tell it. Pure; commands/drill.ts feeds it and says what it tells. */
import type { Drill, Loss } from '../../contract/drill';
import type { MorchEvent } from '../../contract/events';
import type { Recovery } from '../../contract/health';
import { formatMs } from '../quantities';

/** untouched: its node was not given up; waiting: for its node; recovering: it is due to run elsewhere. */
export type InstanceOutcome = 'untouched' | 'waiting' | 'recovering' | 'running' | 'ended';

export interface DrilledInstance extends Pick<Loss, 'instance' | 'workload' | 'onDisconnect' | 'fate'> {
  outcome: InstanceOutcome;
  toNode: string | null;
  placedAt: string | null;
  startedAt: string | null;
  runningAt: string | null;
}

export class DrillTimeline {
  suspectAt: string | null = null;
  verdictAt: string | null = null;
  /** Heard again, after the verdict. */
  returnedAt: string | null = null;
  /** Well again. */
  backAt: string | null = null;
  /** The latest start of the scheduler in the middle of it. */
  schedulerStartedAt: string | null = null;
  readonly #instances: Map<string, DrilledInstance>;

  constructor(
    readonly drill: Drill,
    losses: readonly Loss[],
  ) {
    this.#instances = new Map(
      losses.map(({ instance, workload, onDisconnect, fate }) => [
        instance,
        {
          ...{ instance, workload, onDisconnect, fate, outcome: 'untouched' as const },
          ...{ toNode: null, placedAt: null, startedAt: null, runningAt: null },
        },
      ]),
    );
  }

  get instances(): DrilledInstance[] {
    return [...this.#instances.values()];
  }

  /** Of these the drill tells how fast they run again. */
  get moved(): DrilledInstance[] {
    return this.instances.filter(({ fate, outcome }) => fate !== 'waits' && outcome !== 'untouched');
  }

  /** Not running again yet. */
  get pending(): DrilledInstance[] {
    return this.moved.filter(({ outcome }) => outcome === 'recovering');
  }

  /** Since the failure. */
  afterMs(at: string): number {
    return Math.max(0, Date.parse(at) - Date.parse(this.drill.at));
  }

  /** @returns a line to say, null for what is of no interest */
  take(event: MorchEvent): string | null {
    const told = event.instance === undefined ? this.#takeNode(event) : this.#takeInstance(event);
    return told === null ? null : `${`+${formatMs(this.afterMs(event.at))}`.padEnd(8)} ${told}`;
  }

  #takeNode({ type, node, at, data }: MorchEvent): string | null {
    if (type === 'scheduler.started') {
      this.schedulerStartedAt = at;
      return 'the scheduler was started anew';
    }
    if (type === 'scheduler.brake') return 'the brake is on: nothing is moved (morch recovery)';
    if (node !== this.drill.node) return null;
    const reason = typeof data.reason === 'string' ? `: ${data.reason}` : '';
    switch (type) {
      case 'node.drill':
        return `${node} fails`;
      case 'node.suspect':
        this.suspectAt ??= at;
        return `${node} is suspect${reason}`;
      case 'node.lost':
        this.verdictAt ??= at;
        return `${node} is lost${reason}`;
      case 'node.returned':
        this.returnedAt ??= at;
        return `${node} is heard again`;
      case 'node.healthy':
      case 'node.quarantined':
        if (this.suspectAt === null && this.verdictAt === null) return null;
        this.backAt ??= at;
        return `${node} is ${type === 'node.healthy' ? 'healthy again' : `back, in quarantine${reason}`}`;
      default:
        return null;
    }
  }

  #takeInstance({ type, instance = '', node, at }: MorchEvent): string | null {
    const known = this.#instances.get(instance);
    if (known === undefined) return null;
    if (type === 'instance.recovering' && node === this.drill.node) {
      known.outcome = known.fate === 'waits' ? 'waiting' : 'recovering';
      return `${instance} ${known.outcome === 'waiting' ? `waits for ${node}` : 'is to be started elsewhere'}`;
    }
    // Placed without a verdict: it has ended, or was found to be gone.
    if (known.outcome === 'untouched' && type !== 'instance.placed') return null;
    if (known.outcome === 'running' || known.outcome === 'ended') return null;
    switch (type) {
      case 'instance.placed':
        known.toNode = node ?? null;
        known.placedAt = at;
        if (known.outcome === 'untouched') known.outcome = 'recovering';
        return `${instance} is placed on ${node}`;
      case 'instance.started':
        known.toNode = node ?? null;
        known.runningAt = at;
        known.outcome = 'running';
        return `${instance} runs on ${node}`;
      case 'instance.stopped':
        known.outcome = 'ended';
        return `${instance} is stopped`;
      default:
        return null;
    }
  }

  /** The scheduler's own figures, newest first, which tell of starts as well. It keeps the latest only. */
  takeRecoveries(recoveries: readonly Recovery[]): void {
    for (const { instance, fromNode, timeline } of recoveries) {
      const known = this.#instances.get(instance);
      // One of an earlier failure; of several since this one the first is told last.
      if (known === undefined || fromNode !== this.drill.node || timeline.verdictAt < this.drill.at) continue;
      known.placedAt = timeline.placedAt ?? known.placedAt;
      known.startedAt = timeline.startedAt;
      known.runningAt = timeline.runningAt ?? known.runningAt;
    }
  }
}
