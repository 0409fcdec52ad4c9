/**
 * The brake: when so many nodes are gone at once that the fault is more likely the network's or the scheduler's own,
 * nothing of theirs is started elsewhere until they are back or an operator says so. The registry tells of verdicts and
 * returns; the placer asks which nodes are held. Kept in the store, since a restart mends no network.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { isMassFailure } from './core/brake';
import type { HealthPolicy } from './core/healthPolicy';
import type { NodeRecord } from './core/model';
import type { State } from './state';

export class Brake {
  /** When each node was lost, of those that were lost in this term (monotonic ms). */
  private readonly lostAtMs = new Map<string, number>();
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly state: State,
    private readonly policy: HealthPolicy,
    /** What was held may be placed. */
    private readonly onReleased: () => void,
    private readonly log: Logger,
  ) {
    if (state.meta.brake) this.watch();
  }

  /** Verdicts that belong to one failure lie no further apart. */
  private get windowMs(): number {
    return 2 * (this.policy.silentAfterMs + this.policy.probeTimeoutMs);
  }

  /** Before anything of the node is placed elsewhere. */
  onLost(node: NodeRecord): void {
    this.lostAtMs.set(node.id, performance.now());
    const { lost, gone, counted } = this.count();
    if (!isMassFailure(gone, counted)) return;
    const isNew = !this.state.meta.brake;
    const held = new Set([...(this.state.meta.brake?.nodes ?? []), ...lost]);
    this.state.meta.brake = { since: this.state.meta.brake?.since ?? new Date().toISOString(), nodes: [...held] };
    this.state.saveMeta();
    this.watch();
    if (!isNew) return;
    this.log.error({ gone, of: counted }, 'so many nodes are gone at once that nothing is moved: the brake is on');
    const isGone = ({ id, status }: NodeRecord): boolean => status === 'suspect' || lost.has(id);
    const data = { nodes: [...this.state.nodes.values()].filter(isGone).map(({ id }) => id), of: counted };
    this.state.emit({ type: 'scheduler.brake', data }, new Date().toISOString());
  }

  /** A node is heard again, or forgotten. */
  onHeard(node: NodeRecord): void {
    this.lostAtMs.delete(node.id);
    const { brake } = this.state.meta;
    if (!brake?.nodes.includes(node.id)) return;
    this.state.meta.brake = { ...brake, nodes: brake.nodes.filter((id) => id !== node.id) };
    this.state.saveMeta();
    // The others are looked for as often as they are probed.
    this.watch(this.policy.sweepMs + this.policy.probeTimeoutMs);
  }

  /** @returns whether it was on */
  release(by: 'operator' | 'return'): boolean {
    const { brake } = this.state.meta;
    if (!brake) return false;
    this.close();
    // What is gone is gone: it does not count for the next time.
    for (const id of brake.nodes) this.lostAtMs.delete(id);
    this.state.meta.brake = null;
    this.state.saveMeta();
    this.log.warn({ by, stillLost: brake.nodes }, 'the brake is released');
    this.state.emit({ type: 'scheduler.released', data: { by, stillLost: brake.nodes } }, new Date().toISOString());
    this.onReleased();
    return true;
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** Looks again then: whoever comes back first is followed by the others before anything is moved. */
  private watch(afterMs = this.windowMs): void {
    this.close();
    this.timer = setTimeout(() => {
      const { gone, counted } = this.count();
      if (isMassFailure(gone, counted)) this.watch();
      else this.release('return');
    }, afterMs);
  }

  /**
   * Gone: lost within the window, held, or without a sign of life just now. Lost for longer: not counted at all. Of thousands
   * each verdict asks, so all nodes are not looked at.
   */
  private count(): { lost: Set<string>; gone: number; counted: number } {
    const { nodes, nodesByStatus, meta } = this.state;
    const sinceMs = performance.now() - this.windowMs;
    const lost = new Set<string>();
    for (const [id, atMs] of this.lostAtMs) {
      if (atMs < sinceMs) this.lostAtMs.delete(id);
      else if (nodes.get(id)?.status === 'lost') lost.add(id);
    }
    for (const id of meta.brake?.nodes ?? []) if (nodes.get(id)?.status === 'lost') lost.add(id);
    const counted = nodes.size - (nodesByStatus.get('lost') ?? 0) + lost.size;
    return { lost, gone: lost.size + (nodesByStatus.get('suspect') ?? 0), counted };
  }
}
