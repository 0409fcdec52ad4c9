/**
 * Which scheduler commands, where there is more than one of a cluster: agents obey the highest epoch they have heard of. One
 * that hears of an epoch no lower than its own has either lost its latest records (restored, rolled back), or another
 * scheduler is there; one that finds agents commanded by an earlier one was started on a copy of its records. Whoever hears
 * that agents are commanded stands down; whoever hears for the length of a lease that they are not goes on in an epoch
 * beyond all others.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import type { AgentStatus } from '../contract/agentApi';

/** An agent may be a little late to notice that its scheduler is gone. */
const NOTICED_WITHIN_MS = 1_500;

export interface SuccessionMeans {
  /** The own term. */
  readonly term: { readonly epoch: number; readonly id: string };
  onDeposed(): void;
  /** @param epochBefore the highest that was heard of */
  onSucceed(epochBefore: number): void;
}

/** `later`: that will be known soon. */
export type MayCommand = 'yes' | 'no' | 'later';

export class Succession {
  private highest = 0;
  /** Since when agents are known of another term whom nobody commands (monotonic ms). */
  private unledSinceMs: number | null = null;
  /** By node: since when its agent is seen to be commanded by a scheduler of an earlier epoch. */
  private readonly commandedSinceMs = new Map<string, number>();

  constructor(
    private readonly waitMs: number,
    private readonly means: SuccessionMeans,
    private readonly log: Logger,
  ) {}

  /** The epoch of the scheduler that commands in this one's place; null: none does. */
  get deposedBy(): number | null {
    return this.highest === 0 ? null : this.highest;
  }

  /** An agent has told whom it obeys, or obeyed last. @returns whether this scheduler may command it */
  heard(nodeId: string, { epoch, term, hasSession }: Pick<AgentStatus, 'epoch' | 'term' | 'hasSession'>): MayCommand {
    const { means } = this;
    const isOthers = epoch > means.term.epoch || (term !== null && term !== means.term.id);
    const isCommanded = isOthers && hasSession;
    if (epoch < means.term.epoch && this.highest === 0) {
      if (!isCommanded) {
        this.commandedSinceMs.delete(nodeId);
        return 'yes';
      }
      const nowMs = performance.now();
      const sinceMs = this.commandedSinceMs.get(nodeId) ?? nowMs;
      this.commandedSinceMs.set(nodeId, sinceMs);
      if (nowMs - sinceMs < NOTICED_WITHIN_MS) return 'later';
    } else if (!isOthers && this.highest === 0) {
      return 'yes';
    }
    this.standDown(epoch, isCommanded);
    return 'no';
  }

  private standDown(epoch: number, isCommanded: boolean): void {
    if (this.highest === 0) {
      this.log.error({ epoch }, "agents obey another scheduler's term: this one stands down");
      this.commandedSinceMs.clear();
      this.means.onDeposed();
    }
    this.highest = Math.max(this.highest, epoch);
    const nowMs = performance.now();
    if (isCommanded) this.unledSinceMs = null;
    else this.unledSinceMs ??= nowMs;
    if (this.unledSinceMs === null || nowMs - this.unledSinceMs < this.waitMs) return;
    const before = this.highest;
    this.highest = 0;
    this.unledSinceMs = null;
    this.means.onSucceed(before);
  }
}
