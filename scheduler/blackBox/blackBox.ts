/**
 * The black box: of each instance that is lost with its node or its agent, what was last heard of it, durable and
 * readable when the node is gone. The registry tells what it hears, the control loop what is lost, before it changes the
 * record; the service reads.
 *
 * A loss is noted at once and written some moments later, bit by bit: what was lost is to run again first.
 */
import type { Logger } from 'pino';
import type { TailsMessage } from '../../contract/agentApi';
import type { BlackBoxRecord } from '../../contract/blackBox';
import type { MorchEvent } from '../../contract/events';
import type { Exit } from '../../contract/workload';
import type { Page } from '../api';
import { type InstanceRecord, instanceKey } from '../core/model';
import type { Journal } from '../journal';
import { encodeCursor, seqOfCursor } from '../pages';
import type { State } from '../state';
import { keys, prefixes } from '../store/keys';
import type { Store } from '../store/store';
import { LastTails } from './lastTails';
import { type HeardUsage, samplesIn, UsageLog } from './usageLog';

/** A loss waits so long before it is written. */
const WRITE_AFTER_MS = 500;
const WRITE_AGAIN_MS = 1_000;
/** Records of one write, so that it holds up nobody's. */
const WRITTEN_AT_ONCE = 64;
const KEPT_PER_INSTANCE = 10;
const KEPT_IN_ALL = 10_000;

interface GenerationId {
  uid: string;
  slot: string;
  generation: number;
}

/** A record in the store; `n` rises with every one that is written. */
interface Entry extends GenerationId {
  n: number;
}

/** A loss not written yet. */
interface Noted {
  id: GenerationId;
  record: Omit<BlackBoxRecord, 'usage'>;
  usage: readonly HeardUsage[];
}

const generationKey = (id: GenerationId): string => `${instanceKey(id)}/${id.generation}`;

export class BlackBox {
  readonly #tails = new LastTails();
  readonly #usage = new UsageLog();
  /** By `generationKey`, oldest first. */
  readonly #entries = new Map<string, Entry>();
  /** The same by instance. */
  readonly #ofInstance = new Map<string, Set<Entry>>();
  #lastN = 0;
  #noted = new Map<string, Noted>();
  #writing: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  private constructor(
    private readonly store: Store,
    private readonly state: State,
    private readonly journal: Journal,
    private readonly log: Logger,
  ) {}

  /** Records of workloads that were purged in the last moment of the term before are removed. */
  static async load(store: Store, state: State, journal: Journal, log: Logger): Promise<BlackBox> {
    const blackBox = new BlackBox(store, state, journal, log);
    for await (const [, value] of store.range(prefixes.blackBoxOrder)) {
      const entry = value as Entry;
      blackBox.#enter(entry);
      blackBox.#lastN = entry.n;
    }
    // While the agents are asked what runs, a workload that is not known may be by and by.
    if (state.meta.rebuilding) return blackBox;
    for (const entry of [...blackBox.#entries.values()]) if (!state.workloads.has(entry.uid)) blackBox.#remove(entry);
    return blackBox;
  }

  // ---- what is heard

  /** Of what is on that node; of what is elsewhere its word does not count. */
  heardTails(nodeId: string, { instances }: TailsMessage): void {
    const at = new Date().toISOString();
    for (const [uid, slot, generation, run, stdout, stderr] of instances) {
      const id = { uid, slot, generation };
      const { node, lingersOn } = this.state.instances.get(instanceKey(id)) ?? { node: null, lingersOn: null };
      if (node === nodeId || lingersOn === nodeId) this.#tails.set(generationKey(id), { run, stdout, stderr, at });
    }
  }

  /** @param text the `usage` of a heartbeat, as it came */
  heardUsage(nodeId: string, text: string): void {
    this.#usage.heard(nodeId, { at: new Date().toISOString(), text });
  }

  forgetNode(nodeId: string): void {
    this.#usage.forget(nodeId);
  }

  /** A workload's records go with it. */
  heardEvents(events: readonly MorchEvent[]): void {
    const purged = new Set(events.flatMap(({ type, data }) => (type === 'workload.purged' ? [data.uid] : [])));
    if (purged.size === 0) return;
    for (const [key, { id }] of this.#noted) if (purged.has(id.uid)) this.#noted.delete(key);
    const gone = [...this.#entries.values()].filter(({ uid }) => purged.has(uid));
    if (gone.length === 0) return;
    for (const entry of gone) this.#remove(entry);
    this.journal.commit().catch(() => undefined); // said by the journal, and tried again
  }

  // ---- what is lost

  /**
   * Call it before the record is changed; a loss of the same generation that is on record already is replaced.
   *
   * @param exit a later one than the record knows
   */
  lost(nodeId: string, instances: Iterable<InstanceRecord>, reason: string, exit: Exit | null = null): void {
    const lostAt = new Date().toISOString();
    const usage = this.#usage.of(nodeId);
    for (const instance of instances) {
      const { uid, slot, generation, run, pid, startedAt, attempts } = instance;
      const id = { uid, slot, generation };
      const tail = this.#tails.get(generationKey(id));
      this.#noted.set(generationKey(id), {
        id,
        record: {
          instance: instance.id,
          generation,
          run: Math.max(run, tail?.run ?? 0),
          node: nodeId,
          lostAt,
          reason,
          pid,
          startedAt,
          exit: exit ?? instance.exit,
          attempts,
          lastLines: { stdout: tail?.stdout ?? '', stderr: tail?.stderr ?? '' },
          reportedAt: tail?.at ?? null,
        },
        usage,
      });
    }
    this.#writeLater(WRITE_AFTER_MS);
  }

  #writeLater(afterMs: number): void {
    if (this.#timer !== null || this.#noted.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.flush();
    }, afterMs);
  }

  /** Writes what has been noted; resolves when it is durable, or cannot be written for now. */
  flush(): Promise<void> {
    this.#writing ??= this.#write()
      .catch((error: unknown) => {
        this.log.warn({ err: error, left: this.#noted.size }, 'records of lost instances wait to be written');
        this.#writeLater(WRITE_AGAIN_MS);
      })
      .finally(() => {
        this.#writing = null;
      });
    return this.#writing;
  }

  async #write(): Promise<void> {
    let heard: readonly HeardUsage[] = [];
    let samples: ReturnType<typeof samplesIn> = new Map();
    while (this.#noted.size > 0) {
      let left = WRITTEN_AT_ONCE;
      for (const [key, { id, record, usage }] of this.#noted) {
        if (left-- === 0) break;
        this.#noted.delete(key);
        // Those of one node were noted together.
        if (heard !== usage) samples = samplesIn(usage);
        heard = usage;
        this.#put(id, { ...record, usage: samples.get(`${record.instance}/${id.generation}`) ?? [] });
      }
      await this.journal.commit();
    }
  }

  #put(id: GenerationId, record: BlackBoxRecord): void {
    // Its workload may have been purged since.
    if (!this.state.workloads.has(id.uid)) return;
    const before = this.#entries.get(generationKey(id));
    if (before !== undefined) this.#remove(before);
    this.#lastN += 1;
    const entry = { ...id, n: this.#lastN };
    this.#enter(entry);
    this.#prune(entry);
    this.state.put(keys.blackBoxOrder(entry.n), entry);
    this.state.put(keys.blackBox(id), record);
  }

  #enter(entry: Entry): void {
    this.#entries.set(generationKey(entry), entry);
    const key = instanceKey(entry);
    const others = this.#ofInstance.get(key);
    if (others === undefined) this.#ofInstance.set(key, new Set([entry]));
    else others.add(entry);
  }

  /** The oldest go: of an instance with too many, and of all. */
  #prune(latest: Entry): void {
    const [oldestOfIts] = this.#ofInstance.get(instanceKey(latest))!;
    if (this.#ofInstance.get(instanceKey(latest))!.size > KEPT_PER_INSTANCE) this.#remove(oldestOfIts!);
    const [oldest] = this.#entries.values();
    if (this.#entries.size > KEPT_IN_ALL) this.#remove(oldest!);
  }

  #remove(entry: Entry): void {
    this.#entries.delete(generationKey(entry));
    const others = this.#ofInstance.get(instanceKey(entry));
    others?.delete(entry);
    if (others?.size === 0) this.#ofInstance.delete(instanceKey(entry));
    this.state.delete(keys.blackBoxOrder(entry.n));
    this.state.delete(keys.blackBox(entry));
  }

  // ---- reading

  /** @param slot of this instance only */
  has(uid: string, slot: string): boolean {
    if (this.#ofInstance.has(instanceKey({ uid, slot }))) return true;
    for (const { id } of this.#noted.values()) if (id.uid === uid && id.slot === slot) return true;
    return false;
  }

  /**
   * Newest first.
   *
   * @param slot of this instance only
   */
  async list(
    uid: string,
    slot: string | undefined,
    page: Page,
  ): Promise<{ records: BlackBoxRecord[]; nextCursor: string | null }> {
    await this.flush();
    const before = page.cursor === undefined ? Number.POSITIVE_INFINITY : seqOfCursor(page.cursor);
    const matching = [...this.#entries.values()]
      .filter((entry) => entry.uid === uid && (slot === undefined || entry.slot === slot) && entry.n < before)
      .reverse();
    const shown = matching.slice(0, page.limit);
    const found = await Promise.all(shown.map((entry) => this.store.get(keys.blackBox(entry))));
    const last = shown.at(-1);
    return {
      records: found.filter((record) => record !== undefined) as BlackBoxRecord[],
      nextCursor: matching.length > shown.length && last !== undefined ? encodeCursor(String(last.n)) : null,
    };
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.flush();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
