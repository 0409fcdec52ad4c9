/**
 * Failures on purpose (`morch drill`): one node at a time, and only while all else is well. What follows is the agent's
 * doing, and seen like any other failure.
 */
import { performance } from 'node:perf_hooks';
import { type Drill, type DrillInput, durationOf } from '../contract/drill';
import { MorchError } from '../contract/errors';
import type { NodeRecord } from './core/model';
import type { NodeRegistry } from './nodeRegistry';
import type { State } from './state';

const ANSWER_WITHIN_MS = 2_000;
/** By then a failure that has begun is seen, with any setting that makes sense to drill. */
const SEEN_WITHIN_MS = 10_000;

interface Begun {
  nodeId: string;
  /** The node's, when it began. */
  session: number;
  /** After this, with the session still the same, it has not been seen and is over (monotonic ms). */
  untilMs: number;
  /** Of a cut that the agent has accepted (epoch ms): a contact after this tells that it is over. */
  cutEndsAtMs: number | null;
}

export class Drills {
  private latest: Begun | null = null;

  constructor(
    private readonly state: State,
    private readonly registry: Pick<NodeRegistry, 'senderOf'>,
  ) {}

  /**
   * Resolves when the agent has accepted it; the event is not durable yet.
   *
   * @throws MorchError NOT_POSSIBLE; else as the agent answers: NODE_UNREACHABLE when it is not known what came of it
   */
  async begin(node: NodeRecord, drill: DrillInput): Promise<Drill> {
    const refusal = this.refusalOf(node);
    if (refusal !== null) throw new MorchError('NOT_POSSIBLE', refusal);
    const session = this.state.runtimeOf(node.id).session!;
    const durationMs = durationOf(drill);
    const untilMs = performance.now() + (durationMs ?? 0) + SEEN_WITHIN_MS;
    const begun: Begun = { nodeId: node.id, session, untilMs, cutEndsAtMs: null };
    const before = this.latest;
    this.latest = begun;
    const { clusterId, epoch } = this.state.term;
    const since = this.state.lastEventSeq;
    const at = new Date().toISOString();
    try {
      await this.registry.senderOf(node.id)!.drill({ ...drill, clusterId, epoch, session }, ANSWER_WITHIN_MS);
    } catch (error) {
      // Where it is not known what came of it, it may have begun.
      if (!(error instanceof MorchError && error.code === 'NODE_UNREACHABLE')) this.latest = before;
      throw error;
    }
    if (durationMs !== null) begun.cutEndsAtMs = Date.now() + durationMs;
    this.state.emit({ type: 'node.drill', node: node.id, data: { kind: drill.kind, durationMs } }, at);
    return { node: node.id, kind: drill.kind, durationMs, at, since };
  }

  /** Why this node cannot be drilled at present; null: it can. */
  refusalOf(node: NodeRecord): string | null {
    if (node.status !== 'healthy' || this.state.runtimeOf(node.id).session === null)
      return `Node ${node.id} is ${node.status}; only a healthy node can be drilled.`;
    const { brake, rebuilding } = this.state.meta;
    if (brake || rebuilding) {
      const why = brake ? 'the brake is on' : 'the scheduler is still learning what runs';
      return `Nothing would be started elsewhere: ${why}. morch health tells more.`;
    }
    const underDrill = this.nodeUnderDrill();
    if (underDrill !== null)
      return `Node ${underDrill} is being drilled. Wait until it is healthy again: never two at a time.`;
    const unwell = [...this.state.nodes.values()].find(({ status }) => status === 'lost' || status === 'suspect');
    if (unwell !== undefined)
      return `Node ${unwell.id} is ${unwell.status}. Nothing else is made to fail before it is back, or forgotten.`;
    return null;
  }

  private nodeUnderDrill(): string | null {
    if (this.latest === null) return null;
    const node = this.state.nodes.get(this.latest.nodeId);
    return node === undefined || this.isOver(node, this.latest) ? null : node.id;
  }

  private isOver(node: NodeRecord, { session, untilMs, cutEndsAtMs }: Begun): boolean {
    if (this.state.runtimeOf(node.id).session !== session) return node.status === 'healthy';
    if (performance.now() >= untilMs) return true;
    // While it is cut off nothing is heard of it.
    return cutEndsAtMs !== null && node.status === 'healthy' && Date.parse(node.lastContactAt ?? '') > cutEndsAtMs;
  }
}
