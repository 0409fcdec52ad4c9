/**
 * Follows the output of a workload: of all its instances at once, across their nodes and generations, until the
 * workload is terminal and everything has been read, or the client leaves.
 *
 * An agent ends the following of an instance when that has ended there. What comes then is learnt from the
 * events: another node (read on there), or a new start on the same one (read on from the position we have come to, as
 * after a break of the connection).
 */
import { FrameReader } from '../../contract/logFrames';
import type { LogSource } from '../api';
import { askForPiece, type Piece, pieceKey, piecesOf } from './agentLogs';
import type { HttpContext } from './handlers';
import { LinePrefixer } from './linePrefixer';
import type { LogOutput } from './logOutput';

const RETRY_MS = 1_000;
/** How long an agent may keep a following open without a byte once the workload is terminal, or the instance elsewhere. */
const SILENCE_MS = 3_000;

export interface Following {
  context: HttpContext;
  id: string;
  instance: string | undefined;
  sources: readonly LogSource[];
  /** Of `sources`, in order. */
  pieces: readonly Piece[];
  /** How many last lines to begin with, by `pieceKey`; none named: from the start. */
  share: ReadonlyMap<string, number>;
  out: LogOutput;
}

export async function followLogs(following: Following): Promise<void> {
  const { context, id, out } = following;
  const run = new FollowRun(following);
  run.refresh();
  const ended = new AbortController();
  const signal = AbortSignal.any([out.left, ended.signal]);
  const watching = run.watch(signal);
  try {
    await context.api.untilTerminal(id, out.left);
  } catch (error) {
    context.log.debug({ err: error, workload: id }, 'a workload whose logs are followed is gone');
  }
  await run.caughtUp(context.events.lastSeq);
  run.refresh();
  run.terminate();
  await run.done();
  ended.abort();
  await watching;
}

interface Followed {
  instanceId: string;
  uid: string;
  pieces: Piece[];
  /** Greatest generation that is known to have started. */
  generation: number;
}

/** By node: the position in its files that we have come to. */
type Passed = Map<string, string>;

type Outcome = 'ended' | 'nothing' | 'broken';

/** A piece under way. */
interface Reading {
  lastByteAtMs: number;
  end: AbortController;
  /** False once the instance has gone on to another node. */
  isLast: () => boolean;
  movedAtMs: number | undefined;
}

class FollowRun {
  readonly #following: Following;
  readonly #out: LogOutput;
  readonly #followed = new Map<string, Followed>();
  readonly #tasks: Promise<void>[] = [];
  #terminal = false;
  #seenSeq = 0;
  #terminalAtMs: number | undefined;
  readonly #silenceTimer: NodeJS.Timeout;
  readonly #reading = new Set<Reading>();
  readonly #changed = new Set<() => void>();

  constructor(following: Following) {
    this.#following = following;
    this.#out = following.out;
    this.#silenceTimer = setInterval(() => this.#endSilent(), 500);
    for (const source of following.sources) {
      const pieces = following.pieces.filter((piece) => piece.instanceId === source.instanceId);
      this.#add({ instanceId: source.instanceId, uid: source.uid, pieces, generation: 0 });
    }
  }

  /** Takes in instances and nodes that have come since. */
  refresh(): void {
    const { context, id, instance, sources } = this.#following;
    let now: LogSource[];
    try {
      now = context.api.logSources(id, instance);
    } catch {
      // The workload is gone; `untilTerminal` says so.
      return;
    }
    const uid = sources[0]?.uid;
    for (const source of now) {
      if (uid !== undefined && source.uid !== uid) continue;
      const known = this.#followed.get(source.instanceId);
      if (known === undefined) {
        this.#add({ instanceId: source.instanceId, uid: source.uid, pieces: piecesOf(source), generation: 0 });
      } else {
        known.pieces = piecesOf(source);
      }
    }
    if (this.#followed.size > 1) this.#out.prefixed = true;
  }

  async watch(signal: AbortSignal): Promise<void> {
    const { context, id } = this.#following;
    this.#seenSeq = context.events.lastSeq;
    try {
      for await (const event of context.events.follow(this.#seenSeq, signal)) {
        this.#seenSeq = event.seq;
        if (event.workload !== id || !event.type.startsWith('instance.')) continue;
        this.refresh();
        const followed = this.#followed.get(event.instance ?? '');
        if (event.type === 'instance.started' && followed !== undefined) {
          followed.generation = Math.max(followed.generation, event.generation ?? 0);
        }
        this.#wake();
      }
    } catch (error) {
      this.#seenSeq = Number.POSITIVE_INFINITY;
      context.log.warn({ err: error, workload: id }, 'new instances are no longer noticed by a follower of logs');
    }
  }

  /** Resolves when what the events up to `seq` say has been taken in. */
  async caughtUp(seq: number): Promise<void> {
    while (this.#seenSeq < seq && !this.#out.left.aborted) await this.#change(50);
  }

  terminate(): void {
    this.#terminal = true;
    this.#terminalAtMs = performance.now();
    this.#wake();
  }

  /** Resolves when everything has been read, after `terminate`, or when the client has left. */
  async done(): Promise<void> {
    await Promise.all(this.#tasks);
    clearInterval(this.#silenceTimer);
  }

  #endSilent(): void {
    const nowMs = performance.now();
    for (const reading of this.#reading) {
      const overAtMs = reading.isLast() ? this.#terminalAtMs : reading.movedAtMs;
      if (!reading.isLast()) reading.movedAtMs ??= nowMs;
      if (overAtMs !== undefined && nowMs - Math.max(reading.lastByteAtMs, overAtMs) > SILENCE_MS) reading.end.abort();
    }
  }

  #add(followed: Followed): void {
    this.#followed.set(followed.instanceId, followed);
    this.#tasks.push(this.#follow(followed));
  }

  /** Reads node after node, in the order the instance came to them, and on the last one goes on to the end. */
  async #follow(followed: Followed): Promise<void> {
    const passed: Passed = new Map();
    const prefixer = new LinePrefixer(followed.instanceId);
    const isLast = ({ node }: Piece) => followed.pieces.at(-1)?.node.id === node.id;
    let piece = followed.pieces[0];
    while (!this.#out.left.aborted) {
      if (piece === undefined) {
        if (this.#terminal) return;
        await this.#change();
        piece = followed.pieces[0];
        continue;
      }
      const { generation } = followed;
      const knewTheEnd = this.#terminal;
      const outcome = await this.#read(piece, isLast, passed, prefixer);
      // After a break the line may go on.
      if (outcome !== 'broken') await this.#out.write(prefixer.end());
      const again = () =>
        (outcome !== 'broken' && followed.generation > generation) ||
        // It may have started and ended between the reading and the news.
        (outcome === 'nothing' && this.#terminal && !knewTheEnd);
      while (isLast(piece) && !again()) {
        if (this.#out.left.aborted) return;
        if (this.#terminal) {
          if (outcome === 'broken') this.#out.missing(piece.node.id);
          await this.#out.write(prefixer.end());
          return;
        }
        await this.#change(outcome === 'broken' ? RETRY_MS : undefined);
        if (outcome === 'broken') {
          this.refresh();
          break;
        }
      }
      if (!isLast(piece) && outcome === 'broken') {
        this.#out.missing(piece.node.id);
        await this.#out.write(prefixer.end());
      }
      piece = nextOf(piece, followed.pieces);
    }
  }

  async #read(
    piece: Piece,
    isLast: (piece: Piece) => boolean,
    passed: Passed,
    prefixer: LinePrefixer,
  ): Promise<Outcome> {
    const nodeId = piece.node.id;
    const from = passed.get(nodeId);
    const tail = from === undefined ? this.#following.share.get(pieceKey(piece)) : undefined;
    const last = isLast(piece);
    if (tail === 0 && !last) return 'ended';
    const reading: Reading = {
      lastByteAtMs: performance.now(),
      end: new AbortController(),
      isLast: () => isLast(piece),
      movedAtMs: undefined,
    };
    const signal = AbortSignal.any([this.#out.left, reading.end.signal]);
    const follow = last && !this.#terminal;
    const query = { ...this.#out.selection, tail, from, follow, frames: true };
    const answer = await askForPiece(piece, query, signal);
    if (answer.kind !== 'output') return answer.kind === 'nothing' ? 'nothing' : 'broken';
    const frames = new FrameReader();
    this.#reading.add(reading);
    try {
      for await (const chunk of answer.chunks) {
        reading.lastByteAtMs = Number.POSITIVE_INFINITY;
        for (const { bytes, position } of frames.push(chunk)) {
          await this.#out.write(this.#out.prefixed ? prefixer.push(bytes) : bytes);
          passed.set(nodeId, position);
        }
        reading.lastByteAtMs = performance.now();
      }
      return 'ended';
    } catch {
      return reading.end.signal.aborted ? 'ended' : 'broken';
    } finally {
      this.#reading.delete(reading);
    }
  }

  #wake(): void {
    const waiting = [...this.#changed];
    this.#changed.clear();
    for (const wake of waiting) wake();
  }

  /** Resolves at the next change, when the client leaves, or after `limitMs`. */
  #change(limitMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#changed.delete(done);
        this.#out.left.removeEventListener('abort', done);
        resolve();
      };
      const timer = limitMs === undefined ? undefined : setTimeout(done, limitMs);
      this.#changed.add(done);
      this.#out.left.addEventListener('abort', done);
    });
  }
}

/** The piece itself while it is the last one. */
function nextOf(piece: Piece, pieces: readonly Piece[]): Piece | undefined {
  const at = pieces.findIndex(({ node }) => node.id === piece.node.id);
  return at === -1 ? pieces[0] : pieces[Math.min(at + 1, pieces.length - 1)];
}
