/** Nodes that are lost and come back again and again: what they run stays, but they get nothing new for a while. */
import { performance } from 'node:perf_hooks';
import type { HealthPolicy } from './core/healthPolicy';

export class Quarantine {
  private readonly losses = new Map<string, number[]>();
  private readonly untilMs = new Map<string, number>();

  constructor(private readonly policy: Pick<HealthPolicy, 'flapLosses' | 'flapWindowMs' | 'quarantineMs'>) {}

  onLost(nodeId: string): void {
    const { flapLosses, flapWindowMs, quarantineMs } = this.policy;
    if (flapLosses === 0) return;
    const nowMs = performance.now();
    const recent = [...(this.losses.get(nodeId) ?? []), nowMs].filter((atMs) => nowMs - atMs < flapWindowMs);
    this.losses.set(nodeId, recent);
    if (recent.length >= flapLosses) this.untilMs.set(nodeId, nowMs + quarantineMs);
  }

  /** How long the node is still in quarantine, and why; null: it is not. */
  of(nodeId: string): { leftMs: number; reason: string } | null {
    const leftMs = (this.untilMs.get(nodeId) ?? Number.NEGATIVE_INFINITY) - performance.now();
    if (leftMs <= 0) return null;
    const { flapWindowMs, quarantineMs } = this.policy;
    const losses = this.losses.get(nodeId)?.length ?? 0;
    const minutes = (ms: number): string => `${Math.round(ms / 6_000) / 10} min`;
    return {
      leftMs,
      reason: `lost ${losses} times within ${minutes(flapWindowMs)}; nothing new is placed there for ${minutes(quarantineMs)} since the last time, or until \`morch uncordon ${nodeId}\``,
    };
  }

  /** An operator trusts it again, or it is forgotten. */
  end(nodeId: string): void {
    this.losses.delete(nodeId);
    this.untilMs.delete(nodeId);
  }
}
