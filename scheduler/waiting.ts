/**
 * Instances that wait for a place. Those nobody has looked at yet are fresh; those that were refused lie parked with all that
 * were refused for the same want, so that one look at the first of them tells of all; those that are to be tried at a
 * later moment sleep until then. What waits for the end of a fence is in none of them: its record changes when it is over.
 */
import type { InstanceRecord } from './core/model';
import { steadyNowMs } from './steadyClock';

/** Instances that want the same, and had to be told why they cannot have it. */
export interface Parked {
  readonly instances: Set<InstanceRecord>;
  reason: string;
  /** Of the table of nodes, when one of them was last tried. */
  roomVersion: number;
  /** The same, when the reason was last found out, and that moment (monotonic ms). */
  reasonVersion: number;
  explainedAtMs: number;
}

/** What a refusal goes by. */
export type Circumstances = Omit<Parked, 'instances'>;

interface Alarm {
  atMs: number;
  instance: InstanceRecord;
}

export class WaitingList {
  /** In the order in which they came. */
  readonly fresh = new Set<InstanceRecord>();
  /** By what they want, in the order in which they were refused first. */
  readonly parked = new Map<string, Parked>();
  readonly #wants = new Map<InstanceRecord, string>();
  readonly #sleeping = new Map<InstanceRecord, number>();
  /** A heap, the earliest first; of one that sleeps no more, or until another moment, an alarm stays until its time. */
  readonly #alarms: Alarm[] = [];

  /** It waits for a place, and its record has changed or is new. */
  note(instance: InstanceRecord): void {
    if (instance.fenced) {
      this.drop(instance);
    } else if (instance.retryAtMs > 0 && instance.retryAtMs > steadyNowMs()) {
      if (this.#sleeping.get(instance) === instance.retryAtMs) return;
      this.drop(instance);
      this.#sleeping.set(instance, instance.retryAtMs);
      this.#setAlarm({ atMs: instance.retryAtMs, instance });
    } else if (!this.#wants.has(instance)) {
      this.#sleeping.delete(instance);
      this.fresh.add(instance);
    }
  }

  /** It waits no more. */
  drop(instance: InstanceRecord): void {
    this.fresh.delete(instance);
    this.#sleeping.delete(instance);
    const want = this.#wants.get(instance);
    if (want === undefined) return;
    this.#wants.delete(instance);
    const group = this.parked.get(want)!;
    group.instances.delete(instance);
    if (group.instances.size === 0) this.parked.delete(want);
  }

  /** It was refused. @param want what it wants: all of that are refused until the first of them is not */
  park(instance: InstanceRecord, want: string, circumstances: Circumstances): void {
    this.drop(instance);
    const group = this.parked.get(want) ?? { instances: new Set(), ...circumstances };
    Object.assign(group, circumstances);
    group.instances.add(instance);
    this.parked.set(want, group);
    this.#wants.set(instance, want);
  }

  /** It may want something else now. */
  lookAnew(instance: InstanceRecord): void {
    if (!this.#wants.has(instance)) return;
    this.drop(instance);
    this.fresh.add(instance);
  }

  /** Those whose time has come are fresh. @param nowMs by the clock of steadyClock.ts */
  wakeUp(nowMs: number): void {
    for (let alarm = this.#alarms[0]; alarm !== undefined && alarm.atMs <= nowMs; alarm = this.#alarms[0]) {
      this.#endAlarm();
      if (this.#sleeping.get(alarm.instance) !== alarm.atMs) continue;
      this.#sleeping.delete(alarm.instance);
      this.fresh.add(alarm.instance);
    }
  }

  /** When somebody is to be woken next; never: infinite. */
  get nextAtMs(): number {
    for (let alarm = this.#alarms[0]; alarm !== undefined; alarm = this.#alarms[0]) {
      if (this.#sleeping.get(alarm.instance) === alarm.atMs) return alarm.atMs;
      this.#endAlarm();
    }
    return Number.POSITIVE_INFINITY;
  }

  *[Symbol.iterator](): IterableIterator<InstanceRecord> {
    yield* this.fresh;
    yield* this.#wants.keys();
    yield* this.#sleeping.keys();
  }

  #setAlarm(alarm: Alarm): void {
    const alarms = this.#alarms;
    let at = alarms.push(alarm) - 1;
    for (let parent = (at - 1) >>> 1; at > 0 && alarms[parent]!.atMs > alarm.atMs; parent = (at - 1) >>> 1) {
      alarms[at] = alarms[parent]!;
      at = parent;
    }
    alarms[at] = alarm;
  }

  #endAlarm(): void {
    const alarms = this.#alarms;
    const last = alarms.pop()!;
    if (alarms.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < alarms.length && alarms[child + 1]!.atMs < alarms[child]!.atMs) child += 1;
      if (child >= alarms.length || alarms[child]!.atMs >= last.atMs) break;
      alarms[at] = alarms[child]!;
      at = child;
    }
    alarms[at] = last;
  }
}
