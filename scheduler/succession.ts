/**
 * Which scheduler commands, where there is more than one: agents obey the highest epoch they have heard of. One that hears
 * of a higher epoch than its own has either lost its latest records (restored, rolled back), or another scheduler of the
 * cluster is there. Whoever hears that agents are commanded stands down; whoever hears for the length of a lease that they
 * are not goes on in an epoch beyond all others.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';

export class Succession {
  private highest = 0;
  /** Since when agents are known of a later epoch whom nobody commands (monotonic ms). */
  private unledSinceMs: number | null = null;

  constructor(
    private readonly waitMs: number,
    private readonly onSucceed: (epochBefore: number) => void,
    private readonly log: Logger,
  ) {}

  /** The epoch of the scheduler that commands in this one's place; null: none does. */
  get deposedBy(): number | null {
    return this.highest === 0 ? null : this.highest;
  }

  /** An agent has told another scheduler's epoch, no lower than the own, and whether that scheduler commands it now. */
  heard(epoch: number, isCommanded: boolean): void {
    if (this.highest === 0)
      this.log.error({ epoch }, "agents obey another scheduler's term, no earlier than this one: this one stands down");
    this.highest = Math.max(this.highest, epoch);
    const nowMs = performance.now();
    if (isCommanded) this.unledSinceMs = null;
    else this.unledSinceMs ??= nowMs;
    if (this.unledSinceMs === null || nowMs - this.unledSinceMs < this.waitMs) return;
    const before = this.highest;
    this.highest = 0;
    this.unledSinceMs = null;
    this.onSucceed(before);
  }
}
