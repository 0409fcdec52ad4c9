/**
 * Nodes that are lost and come back again and again: what they run stays, but they get nothing new for a while. Pure; the
 * times are those of steadyClock.ts, as they are kept in the node's record.
 */
import type { HealthPolicy } from './healthPolicy';
import type { Flaps } from './model';

type FlapPolicy = Pick<HealthPolicy, 'flapLosses' | 'flapWindowMs' | 'quarantineMs'>;

/** @returns what is to be kept of a node that was lost just now */
export function flapsAfterLoss(before: Flaps | undefined, nowMs: number, policy: FlapPolicy): Flaps {
  const { flapLosses, flapWindowMs, quarantineMs } = policy;
  const recent = (before?.lossesAtMs ?? []).filter((atMs) => atMs <= nowMs && nowMs - atMs < flapWindowMs);
  const lossesAtMs = [...recent, nowMs];
  const isFlapping = flapLosses > 0 && lossesAtMs.length >= flapLosses;
  return { lossesAtMs, untilMs: isFlapping ? nowMs + quarantineMs : (before?.untilMs ?? null) };
}

/** How long the node is still in quarantine, and why; null: it is not. */
export function quarantineOf(
  { id, flaps }: { id: string; flaps?: Flaps },
  nowMs: number,
  { flapLosses, flapWindowMs, quarantineMs }: FlapPolicy,
): { leftMs: number; reason: string } | null {
  const endsAtMs = flaps?.untilMs ?? null;
  if (flaps === undefined || endsAtMs === null || flapLosses === 0) return null;
  // Settings may have changed, and clocks been set back, while no scheduler ran.
  const leftMs = Math.min(endsAtMs - nowMs, quarantineMs);
  if (leftMs <= 0) return null;
  const minutes = (ms: number): string => `${Math.round(ms / 6_000) / 10} min`;
  return {
    leftMs,
    reason: `lost ${flaps.lossesAtMs.length} times within ${minutes(flapWindowMs)}; nothing new is placed there for ${minutes(quarantineMs)} since the last time, or until \`morch uncordon ${id}\``,
  };
}
