/**
 * A run's plan as the bytes its shim reads: docs/shim.md, "Plan". Used by the host that starts shims; read by
 * agent/native/shim/plan.cc.
 */
import { constants } from 'node:os';
import { signalNumber } from '../native/signals';
import { type Fence, type Rlimit, type RunPlan, StartFailure } from '../processHost';

const MAGIC = 'MSHPLAN1';
const HEADER_BYTES = MAGIC.length + 4;
const FIELD_HEADER_BYTES = 8;
const ALIGNMENT = 8;
const NUMBER_BYTES = 8;
/** The shim refuses more. The kernel takes no more than this for argv and environment on any usual stack limit. */
export const PLAN_MAX_BYTES = 4 << 20;

const TAG = {
  file: 1,
  argv: 2,
  env: 3,
  cwd: 4,
  privateCwd: 5,
  stateDir: 6,
  run: 7,
  nonce: 8,
  notices: 9,
  logDir: 10,
  generation: 11,
  logFirst: 12,
  logMaxBytes: 13,
  logFiles: 14,
  stopSignal: 15,
  graceMs: 16,
  fence: 17,
  orphanAfterMs: 18,
  lease: 19,
  cgroup: 20,
  user: 21,
  groups: 22,
  rlimit: 23,
  umask: 24,
  nice: 25,
  noNewPrivs: 26,
  shell: 27,
  leaseTerm: 28,
  startUntil: 29,
  handOverMs: 30,
} as const;

const FENCE: Record<Fence['kind'], number> = { keep: 0, stop: 1, replace: 2 };

/** asm-generic/resource.h: the same on x86-64 and arm64. */
const RESOURCE: Record<Rlimit['resource'], number> = { fileSize: 1, core: 4, openFiles: 7 };
const UINT32_MAX = 2 ** 32 - 1;

/** The nice values begin at -20; the plan's numbers at 0. */
const NICE_BIAS = 20;

export interface PlanPaths {
  /** The agent's FIFO. */
  notices: string;
  /** The agent's lease page. */
  lease: string;
}

/**
 * @throws StartFailure `execve`, E2BIG: longer than a plan may be; EINVAL: a string holds a NUL byte, which ends it in
 *   the kernel
 */
export function encodePlan(plan: RunPlan, where: PlanPaths): Buffer {
  const fields = new Fields();
  try {
    addAll(fields, plan, where);
    return fields.encode();
  } finally {
    fields.clear();
  }
}

function addAll(fields: Fields, plan: RunPlan, where: PlanPaths): void {
  fields.string(TAG.file, plan.file);
  for (const argument of plan.argv) fields.string(TAG.argv, argument);
  for (const [name, value] of Object.entries(plan.env)) fields.string(TAG.env, `${name}=${value}`);
  fields.string(TAG.cwd, plan.cwd);
  fields.number(TAG.privateCwd, Number(plan.privateCwd));
  fields.string(TAG.stateDir, plan.stateDirectory);
  fields.number(TAG.run, plan.run);
  fields.string(TAG.nonce, plan.nonce);
  fields.string(TAG.notices, where.notices);

  fields.string(TAG.logDir, plan.logs.directory);
  fields.number(TAG.generation, plan.generation);
  fields.numbers(TAG.logFirst, [plan.logs.firstStdout, plan.logs.firstStderr]);
  fields.number(TAG.logMaxBytes, plan.logs.maxBytes);
  fields.number(TAG.logFiles, plan.logs.files);

  fields.number(TAG.stopSignal, numberOf(plan.stop.signal));
  fields.number(TAG.graceMs, plan.stop.graceMs);
  fields.number(TAG.fence, FENCE[plan.fence.kind]);
  fields.number(TAG.orphanAfterMs, plan.fence.kind === 'replace' ? plan.fence.orphanAfterMs : 0);
  fields.number(TAG.leaseTerm, plan.fence.kind === 'stop' ? plan.fence.leaseTerm : 0);
  fields.number(TAG.startUntil, plan.startUntilMs ?? 0);
  fields.number(TAG.handOverMs, plan.handOverMs);
  if (plan.fence.kind !== 'keep') fields.string(TAG.lease, where.lease);

  if (plan.cgroup !== null) fields.string(TAG.cgroup, plan.cgroup);
  if (plan.user !== null) {
    fields.numbers(TAG.user, [plan.user.uid, plan.user.gid]);
    for (const group of plan.user.groups) fields.number(TAG.groups, group);
  }
  for (const { resource, value } of plan.rlimits) fields.numbers(TAG.rlimit, [RESOURCE[resource], value, value]);
  fields.number(TAG.umask, plan.umask);
  fields.number(TAG.nice, plan.nice + NICE_BIAS);
  fields.number(TAG.noNewPrivs, Number(plan.noNewPrivileges));
  fields.number(TAG.shell, Number(plan.shell));
}

function numberOf(signal: string): number {
  const number = signalNumber(signal);
  if (number === null) throw new RangeError(`${signal} is no signal of this platform`);
  return number;
}

const ROOM_BYTES = 16 * 1024;
/** Where plans are put together; each is copied out of it, and nothing of it is left: there may be secrets in it. */
let room = Buffer.alloc(ROOM_BYTES);
/** By this, not by the buffer's methods: thousands are encoded before V8 compiles anything. */
let view = new DataView(room.buffer, room.byteOffset, room.byteLength);

/** What is not written is zero: the end of a string, and what comes before the next field. */
class Fields {
  private at = HEADER_BYTES;
  private count = 0;

  string(tag: number, value: string): void {
    if (value.includes('\0')) throw refused('EINVAL', `"${value.slice(0, 100)}" holds a NUL byte`);
    // A character takes three bytes at most.
    this.begin(tag, value.length * 3 + 1);
    this.end(room.write(value, this.at + FIELD_HEADER_BYTES) + 1);
  }

  number(tag: number, value: number): void {
    this.begin(tag, NUMBER_BYTES);
    setNumber(this.at + FIELD_HEADER_BYTES, value);
    this.end(NUMBER_BYTES);
  }

  numbers(tag: number, values: number[]): void {
    const bytes = NUMBER_BYTES * values.length;
    this.begin(tag, bytes);
    for (let i = 0; i < values.length; i++) setNumber(this.at + FIELD_HEADER_BYTES + NUMBER_BYTES * i, values[i]!);
    this.end(bytes);
  }

  encode(): Buffer {
    if (this.at > PLAN_MAX_BYTES) throw refused('E2BIG', `the plan takes ${this.at} bytes`);
    room.write(MAGIC, 0);
    view.setUint32(MAGIC.length, this.count, true);
    return Buffer.from(room.subarray(0, this.at));
  }

  clear(): void {
    if (room.length > ROOM_BYTES) use(Buffer.alloc(ROOM_BYTES));
    else room.fill(0, 0, this.at);
  }

  /** Its value goes behind the header, for which there is room then. */
  private begin(tag: number, atMostBytes: number): void {
    const needed = this.at + FIELD_HEADER_BYTES + atMostBytes + ALIGNMENT;
    if (needed > room.length) use(enlarged(Math.max(needed, 2 * room.length)));
    view.setUint32(this.at, tag, true);
  }

  private end(bytes: number): void {
    view.setUint32(this.at + 4, bytes, true);
    this.at += FIELD_HEADER_BYTES + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    this.count++;
  }
}

/** @param value Infinity: unlimited */
function setNumber(at: number, value: number): void {
  // Halves: a BigInt each would take as long as all else.
  view.setUint32(at, value === Infinity ? UINT32_MAX : value % 2 ** 32, true);
  view.setUint32(at + 4, value === Infinity ? UINT32_MAX : Math.floor(value / 2 ** 32), true);
}

function enlarged(bytes: number): Buffer<ArrayBuffer> {
  const larger = Buffer.alloc(bytes);
  larger.set(room);
  return larger;
}

function use(other: Buffer<ArrayBuffer>): void {
  room.fill(0);
  room = other;
  view = new DataView(other.buffer, other.byteOffset, other.byteLength);
}

function refused(code: 'E2BIG' | 'EINVAL', why: string): StartFailure {
  return new StartFailure('execve', constants.errno[code], code, { cause: new Error(why) });
}
