/**
 * `<dataDir>/agent.json`: who this agent is (nodeKey) and whose (clusterId, epoch). Decides whose commands are taken.
 * What it accepts is durable before the command is carried out.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { type Standing, standingSchema } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import { readOwnFile, storing, writeDurably } from './files';

const NOTED_WITHIN_MS = 5_000;

const identitySchema = z.object({
  nodeKey: z.string(),
  clusterId: z.string().nullable(),
  epoch: z.int(),
  /** Whose epoch it is; null: not known. */
  term: z.string().nullable().default(null),
  /** The highest mark of the cluster's store that was told: it has no more right to be lower. */
  mark: z.int().default(0),
  /** Of the latest session: copies here may live so long unheard. */
  leaseMs: z.int().default(0),
  /** What the latest scheduler has proven of itself, and the one that told the highest mark. Given back as they came. */
  standing: standingSchema.nullable().default(null),
  furthest: standingSchema.nullable().default(null),
});
type Identity = z.infer<typeof identitySchema>;

export interface Commander {
  clusterId?: string | undefined;
  epoch?: number | undefined;
  /** Random, of one scheduler's term: two that count the same epoch are told apart by it. */
  term?: string | undefined;
  /** With the proof of all these, as a whole. */
  mark?: number | undefined;
  proof?: string | undefined;
}

export class Membership {
  #identity: Identity;
  /** The cluster whose scheduler is being asked for admission: its word counts already. */
  #joining: string | null = null;
  #saved: Identity | null = null;
  #saving: Promise<void> = Promise.resolve();
  #noting: NodeJS.Timeout | null = null;

  private constructor(
    private readonly path: string,
    identity: Identity,
  ) {
    this.#identity = identity;
  }

  static async open(dataDir: string): Promise<Membership> {
    const path = join(dataDir, 'agent.json');
    const stored = await readIdentity(path);
    const membership = new Membership(
      path,
      stored ?? {
        ...{ nodeKey: randomUUID(), clusterId: null, epoch: 0, term: null },
        ...{ mark: 0, leaseMs: 0, standing: null, furthest: null },
      },
    );
    membership.#saved = stored;
    await membership.#settle();
    return membership;
  }

  get nodeKey(): string {
    return this.#identity.nodeKey;
  }

  get clusterId(): string | null {
    return this.#identity.clusterId;
  }

  /** As told to whoever asks: none while the agent leaves its cluster for another. */
  get clusterIdTold(): string | null {
    const own = this.#identity.clusterId;
    return this.#joining !== null && this.#joining !== own ? null : own;
  }

  get mark(): number {
    return this.#identity.mark;
  }

  get standing(): Standing | null {
    return this.#identity.standing;
  }

  get furthest(): Standing | null {
    return this.#identity.furthest;
  }

  get leaseMs(): number {
    return this.#identity.leaseMs;
  }

  get epoch(): number {
    return this.#identity.epoch;
  }

  get term(): string | null {
    return this.#identity.term;
  }

  /**
   * Checks a scheduler's connection, and makes the agent a member of its cluster where it has none.
   *
   * @throws MorchError WRONG_CLUSTER, STALE_EPOCH, STORE_UNWRITABLE
   */
  async admit(commander: Commander): Promise<void> {
    const own = this.#identity;
    const { clusterId, term } = commander;
    if (clusterId === undefined && own.clusterId === null) return;
    const epoch = this.check(commander);
    if (clusterId !== undefined && (own.clusterId !== clusterId || epoch > own.epoch))
      this.#identity = { ...own, ...markIn(own, clusterId), clusterId, epoch, term: term ?? null };
    else if (own.term === null && term !== undefined) this.#identity = { ...own, term };
    const { mark, proof } = commander;
    if (term !== undefined && mark !== undefined && proof !== undefined)
      this.#identity = { ...this.#identity, ...standingsWith(this.#identity, { epoch, term, mark, proof }) };
    await this.#settle();
  }

  /**
   * As `admit`, for a stop. It is carried out on a disk that cannot be written, too: it starts nothing, and an agent that
   * forgets who commanded it is where it was before.
   *
   * @throws MorchError WRONG_CLUSTER, STALE_EPOCH
   */
  async admitStop(commander: Commander): Promise<void> {
    try {
      await this.admit(commander);
    } catch (error) {
      if (!(error instanceof MorchError && error.code === 'STORE_UNWRITABLE')) throw error;
    }
  }

  /**
   * Whether one may command here; changes nothing.
   *
   * @returns the term that is commanded in
   * @throws MorchError WRONG_CLUSTER, STALE_EPOCH
   */
  check({ clusterId, epoch, term }: Commander): number {
    const own = this.#identity;
    if (clusterId === undefined) {
      if (own.clusterId === null) return 0;
      const detail = `This agent belongs to the scheduler of cluster ${own.clusterId}; use that scheduler to start and stop.`;
      throw new MorchError('WRONG_CLUSTER', detail);
    }
    if (own.clusterId !== null && own.clusterId !== clusterId && clusterId !== this.#joining) {
      const detail = `This agent belongs to the scheduler of cluster ${own.clusterId}, not to cluster ${clusterId}. Use that scheduler, or start the agent anew with --scheduler.`;
      throw new MorchError('WRONG_CLUSTER', detail);
    }
    const known = own.clusterId === clusterId ? own.epoch : 0;
    const given = epoch ?? known;
    if (given < known) {
      throw new MorchError(
        'STALE_EPOCH',
        `The command is of scheduler term ${given}; this agent has heard of ${known}.`,
      );
    }
    if (
      own.clusterId === clusterId &&
      given === known &&
      term !== undefined &&
      own.term !== null &&
      term !== own.term
    ) {
      throw new MorchError('STALE_EPOCH', `The scheduler term ${given} is another scheduler's here.`);
    }
    return given;
  }

  /** Kept now and then: one that is a little behind still tells of a store that is far behind. */
  noteMark({ epoch, term }: { epoch: number; term: string | null }, mark: number, proof: string | undefined): void {
    const own = this.#identity;
    const isOfNow = proof !== undefined && term !== null && epoch === own.epoch && term === own.term;
    if (isOfNow && mark !== own.standing?.mark) this.#note(standingsWith(own, { epoch, term, mark, proof }));
    else if (mark > own.mark) this.#note({ mark });
  }

  noteLease(leaseMs: number): void {
    if (leaseMs !== this.#identity.leaseMs) this.#note({ leaseMs });
  }

  #note(noted: Partial<Identity>): void {
    this.#identity = { ...this.#identity, ...noted };
    this.#noting ??= setTimeout(() => {
      this.#noting = null;
      this.#settle().catch(() => {}); // the next one is kept
    }, NOTED_WITHIN_MS).unref();
  }

  /** From here to `endJoining` the cluster is taken for the agent's own as soon as it says a word. */
  beginJoining(clusterId: string): void {
    this.#joining = clusterId;
  }

  endJoining(): void {
    this.#joining = null;
  }

  /** The scheduler has taken the agent in. */
  async join(clusterId: string, epoch: number): Promise<void> {
    const own = this.#identity;
    if (own.clusterId !== clusterId || epoch > own.epoch)
      this.#identity = { ...own, ...markIn(own, clusterId), clusterId, epoch, term: null };
    await this.#settle();
  }

  async #settle(): Promise<void> {
    if (this.#saved !== this.#identity) await this.#save();
  }

  /** One write at a time, each of what is known when its turn comes. */
  #save(): Promise<void> {
    const write = async () => {
      const identity = this.#identity;
      if (this.#saved === identity) return;
      await storing('record the cluster of this agent', this.path, () =>
        writeDurably(this.path, JSON.stringify(identity)),
      );
      this.#saved = identity;
    };
    this.#saving = this.#saving.then(write, write);
    return this.#saving;
  }
}

/** Another cluster has marks of its own. */
function markIn(own: Identity, clusterId: string): Pick<Identity, 'mark' | 'standing' | 'furthest'> {
  const { mark, standing, furthest } = own;
  return own.clusterId === clusterId ? { mark, standing, furthest } : { mark: 0, standing: null, furthest: null };
}

function standingsWith(own: Identity, standing: Standing): Pick<Identity, 'mark' | 'standing' | 'furthest'> {
  const isFurthest = standing.mark >= (own.furthest?.mark ?? 0);
  return { mark: Math.max(own.mark, standing.mark), standing, furthest: isFurthest ? standing : own.furthest };
}

async function readIdentity(path: string): Promise<Identity | null> {
  let text: string;
  try {
    text = await readOwnFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    return identitySchema.parse(JSON.parse(text));
  } catch (cause) {
    const detail = `${path} is damaged. Restore it, or remove it: the agent then joins as a new node.`;
    throw new MorchError('INVALID_INPUT', detail, { cause });
  }
}
