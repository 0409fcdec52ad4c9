/**
 * An agent that is played rather than run: it takes starts and stops as the real one does; its programs, its death and
 * its way back are acts of the test. So thousands of interleavings can be tried in seconds.
 */
import type { InstanceReport, Started, StartInstance, StopBatch } from '../../contract/agentApi';
import { MorchError } from '../../contract/errors';
import { isTerminal } from '../../contract/states';
import type { BatchAnswer } from '../../scheduler/agentClient';
import type { NodeRecord } from '../../scheduler/core/model';

interface Copy {
  report: InstanceReport;
  maxAttempts: number;
  always: boolean;
  /** Its main process ended while its agent was dead: the shim has that on record. */
  endedUnseen: boolean;
}

const NO_FILE = { syscall: 'execve', errno: 2, errnoCode: 'ENOENT' };

export class PlayedAgent {
  readonly copies = new Map<string, Copy>();
  connected = true;
  /** The scheduler has acknowledged a heartbeat of it lately. */
  acknowledged = true;
  /** Its programs live on. */
  dead = false;
  /** Told to end: it starts nothing more. */
  closing = false;
  /** Questions, or answers, are lost. */
  hearsNothing = false;
  answersNothing = false;
  /** Told in order, when the connection lets it. */
  private queue: InstanceReport[] = [];
  /** Counts its starts: what was asked of an earlier one is never answered. */
  private life = 0;

  /**
   * @param random uniform in [0, 1); always 0.5: nothing is lost, nothing fails, everything is answered at once
   * @param starts every one that was ever made anywhere, to see that none is made twice
   */
  constructor(
    readonly node: NodeRecord,
    private readonly random: () => number,
    private readonly hear: (report: InstanceReport) => void,
    private readonly starts: { generation: string; where: string }[],
  ) {}

  get live(): Copy[] {
    return [...this.copies.values()].filter(({ report }) => !isTerminal(report.status as never));
  }

  // ---- what the scheduler asks

  start(commands: readonly string[]): Promise<BatchAnswer<Started>[]> {
    return this.answer(() => commands.map((command) => this.startOne(JSON.parse(command) as StartInstance)));
  }

  stop(targets: StopBatch['instances']): Promise<BatchAnswer<unknown>[]> {
    return this.answer(() => targets.map((target) => this.stopOne(target)));
  }

  forget(keys: { uid: string; slot: string; generation: number }[]): void {
    for (const { uid, slot, generation } of keys) {
      const copy = this.copies.get(`${uid}/${slot}`);
      if (copy?.report.generation === generation && isTerminal(copy.report.status as never))
        this.copies.delete(`${uid}/${slot}`);
    }
  }

  private async answer<T>(act: () => T): Promise<T> {
    const { life } = this;
    const isLost = () => this.life !== life || this.dead || this.random() < 0.05;
    await this.dawdle();
    if (isLost() || this.hearsNothing) throw new MorchError('NODE_UNREACHABLE', 'the question was lost');
    const answer = act();
    await this.dawdle();
    if (isLost() || this.answersNothing) throw new MorchError('NODE_UNREACHABLE', 'the answer was lost');
    return answer;
  }

  /** A question or an answer is under way for some turns of the event loop. */
  private async dawdle(): Promise<void> {
    for (let turns = Math.floor(this.random() * 12) - 6; turns > 0; turns--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  private startOne(command: StartInstance): BatchAnswer<Started> {
    const { instanceId, uid, generation } = command as StartInstance & {
      instanceId: string;
      uid: string;
      generation: number;
    };
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const key = `${uid}/${slot}`;
    const known = this.copies.get(key)?.report;
    const process = { pid: 1_000 + generation, shimPid: 900 + generation, startedAt: new Date().toISOString() };
    const started: BatchAnswer<Started> = { ok: true, value: { instanceId, generation, run: 1, ...process } };
    if (known !== undefined && known.generation > generation)
      return { ok: false, error: new MorchError('STALE_GENERATION', 'past') };
    if (known !== undefined && known.generation === generation) {
      if (known.startError !== null)
        return { ok: false, error: new MorchError('START_FAILED', 'again', { system: NO_FILE }) };
      return known.run === 0 ? { ok: false, error: new MorchError('STALE_GENERATION', 'tombstone') } : started;
    }
    if (this.closing) return { ok: false, error: new MorchError('SHUTTING_DOWN', 'it ends') };
    const here = `${this.node.id} (${this.node.nodeKey})`;
    this.starts.push({ generation: `${key}/${generation}`, where: here });
    const report: InstanceReport = {
      uid,
      slot,
      instanceId,
      generation,
      run: 1,
      rev: 9,
      status: 'running',
      statusReason: null,
      ...process,
      exit: null,
      attempts: (command.attemptsUsed ?? 0) + 1,
      lost: false,
      startError: null,
    };
    const copy: Copy = {
      report,
      maxAttempts: command.restart?.attempts ?? 3,
      always: command.restart?.policy === 'always',
      endedUnseen: false,
    };
    this.copies.set(key, copy);
    if (this.random() < 0.06) {
      const startError = { detail: 'no', ...NO_FILE };
      this.change(copy, { status: 'failed', rev: 12, pid: null, shimPid: null, startError });
      return { ok: false, error: new MorchError('START_FAILED', 'no', { system: NO_FILE }) };
    }
    this.queue.push({ ...report });
    return started;
  }

  private stopOne({ instanceId, uid, generation }: StopBatch['instances'][number]): BatchAnswer<unknown> {
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const copy = this.copies.get(`${uid}/${slot}`);
    if (copy === undefined || copy.report.generation < generation) {
      const tombstone: InstanceReport = {
        uid,
        slot,
        instanceId,
        generation,
        run: 0,
        rev: 4,
        status: 'stopped',
        statusReason: null,
        pid: null,
        shimPid: null,
        startedAt: null,
        exit: null,
        attempts: 0,
        lost: false,
        startError: null,
      };
      this.copies.set(`${uid}/${slot}`, { report: tombstone, maxAttempts: 1, always: false, endedUnseen: false });
      this.queue.push(tombstone);
      return { ok: false, error: new MorchError('INSTANCE_NOT_FOUND', 'none') };
    }
    if (copy.report.generation > generation) return { ok: false, error: new MorchError('STALE_GENERATION', 'past') };
    if (!isTerminal(copy.report.status as never))
      this.change(copy, { status: 'stopping', rev: copy.report.run * 8 + 2 });
    const { run, status, exit } = copy.report;
    return { ok: true, value: { instanceId, generation, run, status, exit } };
  }

  // ---- what programs and machines do

  /** One program ends, or one in backoff is started again. */
  step(): void {
    const { live } = this;
    const copy = live[Math.floor(this.random() * live.length)];
    if (copy === undefined) return;
    if (!this.dead) this.end(copy);
    else if (copy.report.status !== 'backoff') copy.endedUnseen = true;
  }

  /** What is being stopped ends, what waits in backoff runs again. */
  settle(): void {
    for (const copy of this.live) if (copy.report.status !== 'running') this.end(copy);
  }

  private end(copy: Copy): void {
    const { report } = copy;
    const exit = { code: 1, signal: null, at: new Date().toISOString(), oomKilled: false };
    const ended = { pid: null, shimPid: null, exit };
    if (report.status === 'stopping') {
      this.change(copy, { status: 'stopped', rev: report.run * 8 + 4, ...ended });
    } else if (report.status === 'backoff') {
      const run = report.run + 1;
      const process = { pid: 2_000 + run, shimPid: 1_900 + run };
      this.change(copy, { status: 'running', run, rev: run * 8 + 1, ...process, attempts: report.attempts + 1 });
    } else if (copy.always || report.attempts < copy.maxAttempts) {
      this.change(copy, { status: 'backoff', rev: report.run * 8 + 3, ...ended });
    } else {
      this.change(copy, { status: 'failed', rev: report.run * 8 + 4, ...ended });
    }
  }

  /** The agent alone: its processes live on, and what it had not told yet is in its next inventory. */
  die(): void {
    this.dead = true;
    this.closing = false;
    this.connected = false;
    this.life += 1;
    this.queue = [];
  }

  /** Takes over what lives, and takes in what ended meanwhile. */
  rise(): void {
    this.dead = false;
    for (const copy of this.live) {
      if (!copy.endedUnseen) continue;
      copy.endedUnseen = false;
      this.end(copy);
    }
  }

  /** While it is dead its machine starts anew: what ran is gone, as it will say. */
  reboot(): void {
    for (const { report } of this.live)
      Object.assign(report, { status: 'failed', rev: report.run * 8 + 4, lost: true, pid: null, shimPid: null });
  }

  /** While it is dead its records are lost, and with them what ran. */
  loseEverything(): void {
    this.copies.clear();
  }

  // ---- what the scheduler hears

  private change(copy: Copy, patch: Partial<InstanceReport>): void {
    Object.assign(copy.report, patch);
    this.queue.push({ ...copy.report });
  }

  deliver(): void {
    if (!this.connected) return;
    for (const report of this.queue.splice(0)) this.hear(report);
  }

  inventory(): InstanceReport[] {
    this.queue = [];
    return [...this.copies.values()].map(({ report }) => ({ ...report }));
  }
}
