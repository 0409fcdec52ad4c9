/**
 * Which scheduler commands, where there is more than one of a cluster: agents obey the highest epoch they have heard of. One
 * that hears of an epoch no lower than its own has either lost its latest records (restored, rolled back), or another
 * scheduler is there; one that finds agents commanded by an earlier one was started on a copy of its records. Whoever hears
 * that agents are commanded stands down; whoever hears for the length of a lease that they are not goes on in an epoch
 * beyond all others.
 *
 * An agent may be somebody else's by now. So of a later epoch only that counts which the agent proves to have been told by a
 * scheduler of this cluster; and that an earlier one commands, which everybody could say who once obeyed it, only when most
 * of those say so who are heard.
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

/** So long counts what an agent has said: some probes. */
const HEARD_WITHIN_MS = 10_000;

/** `later`: that will be known soon. */
export type MayCommand = 'yes' | 'no' | 'later';

export class Succession {
  private highest = 0;
  /** Since when agents are known of another term whom nobody commands (monotonic ms). */
  private unledSinceMs: number | null = null;
  /** By node: when its agent was heard last, and since when it is seen to be commanded by a scheduler of an earlier epoch. */
  private readonly heardOf = new Map<string, { atMs: number; commandedSinceMs: number | null }>();
  private readonly saidUnproven = new Set<string>();

  constructor(
    private readonly waitMs: number,
    private readonly means: SuccessionMeans,
    private readonly log: Logger,
  ) {}

  /** The epoch of the scheduler that commands in this one's place; null: none does. */
  get deposedBy(): number | null {
    return this.highest === 0 ? null : this.highest;
  }

  /**
   * An agent has told whom it obeys, or obeyed last.
   *
   * @param isProven that it was told so by a scheduler of this cluster
   * @returns whether this scheduler may command it
   */
  heard(
    nodeId: string,
    { epoch, term, hasSession }: Pick<AgentStatus, 'epoch' | 'term' | 'hasSession'>,
    isProven: boolean,
  ): MayCommand {
    const { means } = this;
    const nowMs = performance.now();
    const isOthers = epoch > means.term.epoch || (term !== null && term !== means.term.id);
    const isCommanded = isOthers && hasSession;
    const isEarlier = epoch < means.term.epoch;
    const sinceMs = isCommanded && isEarlier ? (this.heardOf.get(nodeId)?.commandedSinceMs ?? nowMs) : null;
    this.heardOf.set(nodeId, { atMs: nowMs, commandedSinceMs: sinceMs });
    if (isOthers && !isProven && !(isEarlier && !hasSession)) {
      this.sayUnproven(nodeId, epoch);
      return 'no';
    }
    if (isEarlier && isCommanded) {
      if (this.highest === 0 && nowMs - sinceMs! < NOTICED_WITHIN_MS) return 'later';
      if (!this.mostAreCommanded(nowMs)) return 'no';
    } else if (this.highest === 0 && (isEarlier || !isOthers)) {
      return 'yes';
    }
    this.standDown(epoch, isCommanded);
    return 'no';
  }

  private mostAreCommanded(nowMs: number): boolean {
    const heard = [...this.heardOf.values()].filter(({ atMs }) => nowMs - atMs < HEARD_WITHIN_MS);
    return 2 * heard.filter(({ commandedSinceMs }) => commandedSinceMs !== null).length > heard.length;
  }

  private sayUnproven(nodeId: string, epoch: number): void {
    if (this.saidUnproven.has(nodeId)) return;
    this.saidUnproven.add(nodeId);
    this.log.error(
      { node: nodeId, epoch },
      'the agent tells of a scheduler that none of this cluster has been: it is left alone. If its data directory was not changed by somebody, remove agent.json there and start it anew',
    );
  }

  private standDown(epoch: number, isCommanded: boolean): void {
    if (this.highest === 0) {
      this.log.error({ epoch }, "agents obey another scheduler's term: this one stands down");
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
