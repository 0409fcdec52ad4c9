/**
 * Fenced instances (`onDisconnect: stop`) of which nothing is known: their last copy may live as long as the lease of its
 * node's agent. Each is held (`fenced`) until that is surely over. The control loop raises fences and is told of their end;
 * the placer passes over what is fenced.
 */
import { performance } from 'node:perf_hooks';
import type { InstanceRecord } from './core/model';

export class Fences {
  /** By instance: when its fence is over, on the monotonic clock. */
  private readonly endsAtMs = new Map<InstanceRecord, number>();
  private timer: NodeJS.Timeout | null = null;

  /** @param onOver called once for each that is still fenced then */
  constructor(private readonly onOver: (instance: InstanceRecord) => void) {}

  /** Held until then; never less long than before. */
  raise(instance: InstanceRecord, endsAtMs: number): void {
    this.endsAtMs.set(instance, Math.max(endsAtMs, this.endsAtMs.get(instance) ?? 0));
    this.setTimer();
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private setTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.endsAtMs.size === 0) return;
    const next = Math.min(...this.endsAtMs.values());
    // Never early: what is held too long costs time, what is let go too soon runs twice.
    this.timer = setTimeout(() => this.endDue(), Math.max(1, Math.ceil(next - performance.now())));
  }

  private endDue(): void {
    const nowMs = performance.now();
    for (const [instance, endsAtMs] of this.endsAtMs) {
      // What is known again needs no fence any more.
      if (instance.fenced && nowMs < endsAtMs) continue;
      this.endsAtMs.delete(instance);
      if (instance.fenced) this.onOver(instance);
    }
    this.setTimer();
  }
}
