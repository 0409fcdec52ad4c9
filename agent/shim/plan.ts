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
  fields.numbers(TAG.privateCwd, Number(plan.privateCwd));
  fields.string(TAG.stateDir, plan.stateDirectory);
  fields.numbers(TAG.run, plan.run);
  fields.string(TAG.nonce, plan.nonce);
  fields.string(TAG.notices, where.notices);

  fields.string(TAG.logDir, plan.logs.directory);
  fields.numbers(TAG.generation, plan.generation);
  fields.numbers(TAG.logFirst, plan.logs.firstStdout, plan.logs.firstStderr);
  fields.numbers(TAG.logMaxBytes, plan.logs.maxBytes);
  fields.numbers(TAG.logFiles, plan.logs.files);

  fields.numbers(TAG.stopSignal, numberOf(plan.stop.signal));
  fields.numbers(TAG.graceMs, plan.stop.graceMs);
  fields.numbers(TAG.fence, FENCE[plan.fence.kind]);
  fields.numbers(TAG.orphanAfterMs, plan.fence.kind === 'replace' ? plan.fence.orphanAfterMs : 0);
  fields.numbers(TAG.leaseTerm, plan.fence.kind === 'stop' ? plan.fence.leaseTerm : 0);
  fields.numbers(TAG.startUntil, plan.startUntilMs ?? 0);
  fields.numbers(TAG.handOverMs, plan.handOverMs);
  if (plan.fence.kind !== 'keep') fields.string(TAG.lease, where.lease);

  if (plan.cgroup !== null) fields.string(TAG.cgroup, plan.cgroup);
  if (plan.user !== null) {
    fields.numbers(TAG.user, plan.user.uid, plan.user.gid);
    for (const group of plan.user.groups) fields.numbers(TAG.groups, group);
  }
  for (const { resource, value } of plan.rlimits) fields.numbers(TAG.rlimit, RESOURCE[resource], value, value);
  fields.numbers(TAG.umask, plan.umask);
  fields.numbers(TAG.nice, plan.nice + NICE_BIAS);
  fields.numbers(TAG.noNewPrivs, Number(plan.noNewPrivileges));
  fields.numbers(TAG.shell, Number(plan.shell));
}

function numberOf(signal: string): number {
  const number = signalNumber(signal);
  if (number === null) throw new RangeError(`${signal} is no signal of this platform`);
  return number;
}

const ROOM_BYTES = 16 * 1024;
/** Where plans are put together; each is copied out of it, and nothing of it is left: there may be secrets in it. */
let room = Buffer.alloc(ROOM_BYTES);

class Fields {
  private at = HEADER_BYTES;
  private count = 0;

  string(tag: number, value: string): void {
    if (value.includes('\0')) throw refused('EINVAL', `"${value.slice(0, 100)}" holds a NUL byte`);
    // A character takes three bytes at most.
    const start = this.begin(tag, value.length * 3 + 1);
    const end = start + room.write(value, start);
    room[end] = 0;
    this.end(start, end + 1 - start);
  }

  /** Infinity: unlimited. */
  numbers(tag: number, ...values: number[]): void {
    const start = this.begin(tag, 8 * values.length);
    for (const [index, value] of values.entries()) {
      // Halves: a BigInt each would take as long as all else.
      const at = start + 8 * index;
      room.writeUInt32LE(value === Infinity ? UINT32_MAX : value % 2 ** 32, at);
      room.writeUInt32LE(value === Infinity ? UINT32_MAX : Math.floor(value / 2 ** 32), at + 4);
    }
    this.end(start, 8 * values.length);
  }

  encode(): Buffer {
    if (this.at > PLAN_MAX_BYTES) throw refused('E2BIG', `the plan takes ${this.at} bytes`);
    room.write(MAGIC, 0);
    room.writeUInt32LE(this.count, MAGIC.length);
    return Buffer.from(room.subarray(0, this.at));
  }

  clear(): void {
    if (room.length > ROOM_BYTES) room = Buffer.alloc(ROOM_BYTES);
    else room.fill(0);
  }

  /** @returns where the value goes, for which there is room then */
  private begin(tag: number, atMostBytes: number): number {
    const start = this.at + FIELD_HEADER_BYTES;
    const needed = start + atMostBytes + ALIGNMENT;
    if (needed > room.length) room = Buffer.concat([room], Math.max(needed, 2 * room.length));
    room.writeUInt32LE(tag, this.at);
    return start;
  }

  private end(start: number, length: number): void {
    room.writeUInt32LE(length, start - 4);
    this.at = start + Math.ceil(length / ALIGNMENT) * ALIGNMENT;
    room.fill(0, start + length, this.at);
    this.count++;
  }
}

function refused(code: 'E2BIG' | 'EINVAL', why: string): StartFailure {
  return new StartFailure('execve', constants.errno[code], code, { cause: new Error(why) });
}
