/**
 * A run's plan as the bytes its shim reads: docs/shim.md, "Plan". Used by the host that starts shims; read by
 * agent/native/shim/plan.cc.
 */
import { constants } from 'node:os';
import { signalNumber } from '../native/signals';
import { type Fence, type Rlimit, type RunPlan, StartFailure } from '../processHost';

const MAGIC = 'MSHPLAN1';
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
const UNLIMITED = (1n << 64n) - 1n;

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
  return fields.encode();
}

function numberOf(signal: string): number {
  const number = signalNumber(signal);
  if (number === null) throw new RangeError(`${signal} is no signal of this platform`);
  return number;
}

class Fields {
  private readonly chunks: Buffer[] = [];
  private bytes = MAGIC.length + 4;
  private count = 0;

  string(tag: number, value: string): void {
    if (value.includes('\0')) throw refused('EINVAL', `"${value.slice(0, 100)}" holds a NUL byte`);
    this.add(tag, Buffer.from(`${value}\0`));
  }

  /** Infinity: unlimited. */
  numbers(tag: number, ...values: number[]): void {
    const bytes = Buffer.alloc(8 * values.length);
    values.forEach((value, index) => {
      bytes.writeBigUInt64LE(value === Infinity ? UNLIMITED : BigInt(value), 8 * index);
    });
    this.add(tag, bytes);
  }

  encode(): Buffer {
    if (this.bytes > PLAN_MAX_BYTES) throw refused('E2BIG', `the plan takes ${this.bytes} bytes`);
    const header = Buffer.alloc(MAGIC.length + 4);
    header.write(MAGIC);
    header.writeUInt32LE(this.count, MAGIC.length);
    return Buffer.concat([header, ...this.chunks], this.bytes);
  }

  private add(tag: number, value: Buffer): void {
    const field = Buffer.alloc(8 + Math.ceil(value.length / 8) * 8);
    field.writeUInt32LE(tag, 0);
    field.writeUInt32LE(value.length, 4);
    value.copy(field, 8);
    this.chunks.push(field);
    this.bytes += field.length;
    this.count++;
  }
}

function refused(code: 'E2BIG' | 'EINVAL', why: string): StartFailure {
  return new StartFailure('execve', constants.errno[code], code, { cause: new Error(why) });
}
