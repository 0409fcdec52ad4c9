/**
 * The audit log: what is asked of the scheduler is on the disk before it is done. One writer with group commit, like the
 * journal; a line that cannot be written refuses the change that it tells of, and no other change is taken until the log
 * can be written again. Nothing else ever waits for it. docs/audit.md
 */
import { appendFileSync, constants, fstatSync, lstatSync, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises';
import type { Logger } from 'pino';
import { MorchError } from '../../contract/errors';
import { type AuditDraft, CHAIN_START, type ChainEnd, LOSS, makeLine } from './chain';
import { currentOf, findEnd, firstSeqOf, fullNameOf, readHead, writeHead } from './files';

const RETRY_MS = 1_000;
/** So long after it was written a result is on the disk at the latest, should no change follow. */
const SYNC_MS = 1_000;
const FULL_BYTES = 32 * 2 ** 20;
/** Results and refusals that wait for a log that cannot be written; more are counted only. */
const WAITING_KEPT = 10_000;

interface Waiting {
  draft: AuditDraft;
  /** Null: nobody waits for it, and it is kept until it can be written. */
  settle: { resolve(seq: number): void; reject(error: MorchError): void } | null;
}

interface Current {
  handle: FileHandle;
  bytes: number;
}

const SELF: AuditDraft['who'] = { kind: 'scheduler', id: null, name: null, role: null };

export class AuditLog {
  private waiting: Waiting[] = [];
  private dropped = 0;
  private working: Promise<void> | null = null;
  private current: Current | null = null;
  /** As it was written last; null before the first time. */
  private end: ChainEnd | null = null;
  private failure: { reason: string; since: string } | null = null;
  private retry: NodeJS.Timeout | null = null;
  private syncing: NodeJS.Timeout | null = null;
  private closed = false;

  private constructor(
    readonly directory: string,
    private readonly log: Logger,
    private readonly fullBytes: number,
  ) {}

  /** Begins with a line that tells of the start. A log that cannot be written is no reason not to start. */
  static async open(
    directory: string,
    log: Logger,
    { fullBytes = FULL_BYTES }: { fullBytes?: number } = {},
  ): Promise<AuditLog> {
    const audit = new AuditLog(directory, log, fullBytes);
    audit.note(ofSelf('the scheduler started'));
    await audit.working;
    return audit;
  }

  /** Why it cannot be written; null when it can. */
  get unwritable(): string | null {
    return this.failure?.reason ?? null;
  }

  /**
   * Resolves when the line is on the disk; only then may be done what it tells of.
   *
   * @returns its seq
   * @throws MorchError AUDIT_UNWRITABLE
   */
  record(draft: AuditDraft): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ draft, settle: { resolve, reject } });
      this.work();
    });
  }

  /** Written as soon as it can be, so that it outlives this process, and on the disk a second later; nobody waits for it. */
  note(draft: AuditDraft): void {
    if (this.waiting.length >= WAITING_KEPT) {
      this.dropped += 1;
      return;
    }
    this.waiting.push({ draft, settle: null });
    this.work();
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.retry !== null) clearTimeout(this.retry);
    await this.record(ofSelf('the scheduler stopped')).catch(() => undefined);
    while (this.working !== null) await this.working;
    if (this.syncing !== null) clearTimeout(this.syncing);
    await this.letGo();
  }

  private work(): void {
    this.working ??= this.writeAll().finally(() => {
      this.working = null;
      // Whoever was answered last may have asked again before this.
      if (this.waiting.length > 0 && this.failure === null) this.work();
    });
  }

  private async writeAll(): Promise<void> {
    // One turn later, so that all of this tick are in the batch.
    await Promise.resolve();
    do {
      const batch = this.waiting.splice(0);
      try {
        // An empty one is for the sync of what was written before.
        const mustSync = batch.length === 0 || batch.some(({ settle }) => settle !== null);
        const drafts = batch.map(({ draft }) => draft);
        const seqs = await this.write(drafts, mustSync);
        for (const [at, { settle }] of batch.entries()) settle?.resolve(seqs[at]!);
      } catch (error) {
        this.failed(error as NodeJS.ErrnoException, batch);
        return;
      }
    } while (this.waiting.length > 0);
  }

  /** All or nothing. @returns the seq of each */
  private async write(drafts: readonly AuditDraft[], mustSync: boolean): Promise<number[]> {
    const { current, notes } = await this.ready();
    const before = [...notes, ...this.notesOnFailure()];
    let end = this.end!;
    let text = '';
    const seqs: number[] = [];
    for (const draft of [...before, ...drafts]) {
      const line = makeLine(draft, end);
      end = line.end;
      text += `${line.text}\n`;
      seqs.push(end.seq);
    }
    try {
      // Into the kernel's cache, some microseconds: waiting for another thread to do it takes many times that.
      appendFileSync(current.handle.fd, text);
      if (mustSync) await current.handle.datasync();
    } catch (error) {
      // Of a batch that was refused nothing is left, or the next start of the file finds what there is.
      await current.handle.truncate(current.bytes).catch(() => this.letGo());
      throw error;
    }
    current.bytes += Buffer.byteLength(text);
    this.end = end;
    // The head never tells of a line that a loss of power could take.
    if (!mustSync) this.syncLater();
    else this.tellHead(end);
    if (this.failure !== null) this.log.info('the audit log can be written again');
    this.failure = null;
    this.dropped = 0;
    if (current.bytes >= this.fullBytes) await this.turnOver();
    return seqs.slice(before.length);
  }

  private syncLater(): void {
    this.syncing ??= setTimeout(() => {
      this.syncing = null;
      this.work();
    }, SYNC_MS).unref();
  }

  private notesOnFailure(): AuditDraft[] {
    if (this.failure === null) return [];
    const lost = this.dropped === 0 ? '' : `; ${this.dropped} results and refusals of that time are not told`;
    return [ofSelf(`could not be written from ${this.failure.since} on${lost}`)];
  }

  private failed(error: NodeJS.ErrnoException, batch: readonly Waiting[]): void {
    if (this.failure === null) this.log.error({ err: error }, 'the audit log cannot be written; no change is taken');
    this.failure = { reason: error.message, since: this.failure?.since ?? new Date().toISOString() };
    const refusal = new MorchError(
      'AUDIT_UNWRITABLE',
      `No change is taken while it cannot be recorded in ${currentOf(this.directory)}: ${error.message}. Free space there, or mend its rights.`,
      { cause: error },
    );
    for (const { settle } of batch) settle?.reject(refusal);
    this.waiting.unshift(...batch.filter(({ settle }) => settle === null));
    if (this.closed) return;
    this.retry ??= setTimeout(() => {
      this.retry = null;
      this.work();
    }, RETRY_MS);
  }

  private tellHead(end: ChainEnd): void {
    try {
      writeHead(this.directory, end);
    } catch (err) {
      this.log.warn({ err }, 'audit.head cannot be written');
    }
  }

  /** Opens the file, anew when it is not as it was left, and says what was found. */
  private async ready(): Promise<{ current: Current; notes: AuditDraft[] }> {
    if (this.current !== null && this.isAsItWasLeft(this.current)) return { current: this.current, notes: [] };
    await this.letGo();
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const known = this.end ?? (await readHead(this.directory));
    const { end: found, wholeBytes, tornBytes } = await findEnd(this.directory);
    const isNew = known === null && found === null && wholeBytes + tornBytes === 0;
    // From before the first line on, so that one that is missing was removed.
    if (isNew) writeHead(this.directory, CHAIN_START, { sync: true });
    const handle = await open(
      currentOf(this.directory),
      constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      if (tornBytes > 0) await handle.truncate(wholeBytes);
      await syncDirectory(this.directory);
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.current = { handle, bytes: wholeBytes };
    const notes: AuditDraft[] = [];
    if (tornBytes > 0) notes.push(ofSelf(`${tornBytes} bytes of a line that was not finished were taken off the end`));
    const isBehind = known !== null && isLess(found, known);
    if (isBehind) {
      const is = found === null ? 'has no end that is as it was written' : `ends with seq ${found.seq}`;
      notes.push(ofSelf(`the log ${is}, but seq ${known.seq} had been written: ${LOSS}`));
    } else if (known === null && !isNew) {
      notes.push(ofSelf(`the log has no audit.head that tells how far it had been written: ${LOSS}`));
    }
    if (notes.some(({ what }) => what?.endsWith(LOSS)))
      this.log.error({ known, found }, 'the audit log was cut or changed; see morch audit verify');
    this.end = isBehind ? known : (found ?? CHAIN_START);
    return { current: this.current, notes };
  }

  private isAsItWasLeft({ handle, bytes }: Current): boolean {
    const { dev, ino, size } = fstatSync(handle.fd);
    // Renamed, it would be written on under a name where nobody looks for it.
    const named: Stats | undefined = lstatSync(currentOf(this.directory), { throwIfNoEntry: false });
    return named !== undefined && named.dev === dev && named.ino === ino && size === bytes;
  }

  /** The full file gets its name, the next one begins. */
  private async turnOver(): Promise<void> {
    try {
      const first = await firstSeqOf(currentOf(this.directory));
      if (first === null) return;
      await this.current?.handle.datasync();
      await this.letGo();
      await rename(currentOf(this.directory), fullNameOf(this.directory, first));
      await syncDirectory(this.directory);
    } catch (error) {
      this.log.warn({ err: error }, 'the audit log cannot be turned over; it grows on');
    }
  }

  private async letGo(): Promise<void> {
    const { current } = this;
    this.current = null;
    await current?.handle.close().catch(() => undefined);
  }
}

/** Whether a log that had been written up to `known` ends earlier, or otherwise. */
function isLess(found: ChainEnd | null, known: ChainEnd): boolean {
  const { seq, hash } = found ?? CHAIN_START;
  return seq < known.seq || (seq === known.seq && hash !== known.hash);
}

function ofSelf(what: string): AuditDraft {
  return { at: new Date().toISOString(), who: SELF, from: null, method: null, path: null, what };
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
