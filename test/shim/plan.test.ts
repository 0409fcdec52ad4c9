import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';

import { type RunPlan, StartFailure } from '../../agent/processHost';
import { encodePlan, PLAN_MAX_BYTES } from '../../agent/shim/plan';
import { isRoot, type Shim, useShims } from './shim';

const shims = useShims();

const WHERE = { notices: '/notices', lease: '/lease' };

/** The encoded plan of a workload that leaves a file behind when it is started. */
function planThatTouches(file: string, changes: Partial<RunPlan> = {}): Buffer {
  const plan: RunPlan = {
    key: 'uid.0.1.1',
    generation: 1,
    run: 1,
    file: 'touch',
    argv: ['touch', file],
    env: { PATH: '/usr/bin:/bin' },
    cwd: '/',
    privateCwd: false,
    stateDirectory: shims.directory,
    nonce: 'a-nonce-of-a-run',
    stop: { signal: 'SIGTERM', graceMs: 1_000 },
    logs: { directory: shims.directory, firstStdout: 1, firstStderr: 1, maxBytes: 10 << 20, files: 10 },
    fence: { kind: 'keep' },
    startUntilMs: null,
    handOverMs: 0,
    user: null,
    rlimits: [],
    umask: 0o022,
    nice: 0,
    noNewPrivileges: true,
    shell: false,
    cgroup: null,
    ...changes,
  };
  return encodePlan(plan, WHERE);
}

const HEADER_BYTES = 12;

interface Field {
  tag: number;
  at: number;
  length: number;
  end: number;
}

function fieldsOf(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; ) {
    const tag = bytes.readUInt32LE(at);
    const length = bytes.readUInt32LE(at + 4);
    const end = at + 8 + Math.ceil(length / 8) * 8;
    fields.push({ tag, at, length, end });
    at = end;
  }
  return fields;
}

function fieldOf(bytes: Buffer, tag: number): Field {
  return fieldsOf(bytes).find((field) => field.tag === tag)!;
}

function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
}

/** The plan with other fields; the header tells their number. */
function rebuilt(bytes: Buffer, fields: Field[]): Buffer {
  const header = Buffer.from(bytes.subarray(0, HEADER_BYTES));
  header.writeUInt32LE(fields.length, 8);
  return Buffer.concat([header, ...fields.map(({ at, end }) => bytes.subarray(at, end))]);
}

function without(bytes: Buffer, tag: number): Buffer {
  return rebuilt(
    bytes,
    fieldsOf(bytes).filter((field) => field.tag !== tag),
  );
}

const OPTIONAL = new Set([3, 19, 20, 21, 22, 23]);
const REPEATED = new Set([2, 3, 22, 23]);

describe('a shim given something that is no plan', () => {
  const touched = join(shims.directory, 'touched');
  const good = planThatTouches(touched, {
    user: isRoot ? { uid: 0, gid: 0, groups: [0] } : null,
    rlimits: [{ resource: 'core', value: 0 }],
  });
  const number = (tag: number, value: bigint) =>
    changed(good, (copy) => copy.writeBigUInt64LE(value, fieldOf(good, tag).at + 8));

  const garbage: Array<[string, Buffer]> = [
    ['nothing', Buffer.alloc(0)],
    ['a header cut short', good.subarray(0, 11)],
    ['another magic', changed(good, (copy) => copy.write('MSHPLAN2'))],
    ['zeros', Buffer.alloc(4096)],
    ['text', Buffer.from('#!/bin/sh\nexit 0\n')],
    ['a byte too many', Buffer.concat([good, Buffer.alloc(1)])],
    ['a byte too few', good.subarray(0, good.length - 1)],
    ['fewer fields than it says', changed(good, (copy) => copy.writeUInt32LE(copy.readUInt32LE(8) + 1, 8))],
    ['more fields than it says', changed(good, (copy) => copy.writeUInt32LE(copy.readUInt32LE(8) - 1, 8))],
    ['a plan that is too long', Buffer.concat([good, Buffer.alloc(PLAN_MAX_BYTES)])],
    ['an unknown tag', changed(good, (copy) => copy.writeUInt32LE(27, HEADER_BYTES))],
    ['tag 0', changed(good, (copy) => copy.writeUInt32LE(0, HEADER_BYTES))],
    ['a tag far off', changed(good, (copy) => copy.writeUInt32LE(0x80000001, HEADER_BYTES))],
    ['a length that goes past the end', changed(good, (copy) => copy.writeUInt32LE(0xffffffff, HEADER_BYTES + 4))],
    ['a string that does not end', changed(good, (copy) => copy.write('!', HEADER_BYTES + 8 + 'touch'.length))],
    ['a NUL inside a string', changed(good, (copy) => copy.writeUInt8(0, HEADER_BYTES + 9))],
    ['padding that is not zero', changed(good, (copy) => copy.writeUInt8(1, HEADER_BYTES + 15))],
    ['a relative state directory', changed(good, (copy) => copy.write('.', fieldOf(good, 6).at + 8))],
    ['a nonce with a space', changed(good, (copy) => copy.write(' ', fieldOf(good, 8).at + 8))],
    ['privateCwd 2', number(5, 2n)],
    ['a run of 2^32', number(7, 1n << 32n)],
    ['log file 0', number(12, 0n)],
    ['log files of 4095 bytes', number(13, 4095n)],
    ['no log file at all', number(14, 0n)],
    ['signal 0', number(15, 0n)],
    ['signal 65', number(15, 65n)],
    ['fence 3', number(17, 3n)],
    ['fence 1 without a lease page', number(17, 1n)],
    ['a umask of 01000', number(24, 0o1000n)],
    ['nice 40', number(25, 40n)],
    ['noNewPrivs 2', number(26, 2n)],
    ['shell 2', number(27, 2n)],
    ['resource 16', number(23, 16n)],
    ...(isRoot ? ([['the uid that means no change', number(21, 0xffffffffn)]] as Array<[string, Buffer]>) : []),
    ...fieldsOf(good)
      .filter(({ tag }) => !OPTIONAL.has(tag))
      .map(({ tag }): [string, Buffer] => [`no field ${tag}`, without(good, tag)]),
    ...fieldsOf(good)
      .filter(({ tag }) => !REPEATED.has(tag))
      .map((field): [string, Buffer] => [`field ${field.tag} twice`, rebuilt(good, [...fieldsOf(good), field])]),
  ];

  const refuses = async (shim: Shim) => {
    expect(await shim.ended).toBe(3);
    expect(readdirSync(shim.directory)).toEqual([]);
    expect(existsSync(touched)).toBe(false);
  };

  test.each(garbage)('leaves with 3 and has done nothing: %s', async (_what, bytes) => {
    await refuses(shims.launch(['true'], { bytes }));
  });

  test('neither crashes nor hangs on any bytes that begin like a plan', async () => {
    const bytes = fc.uint8Array({ maxLength: 200 }).map((tail) => {
      const header = Buffer.alloc(HEADER_BYTES);
      header.write('MSHPLAN1');
      header.writeUInt32LE(1 + (tail.length % 5), 8);
      return Buffer.concat([header, tail]);
    });
    await fc.assert(
      fc.asyncProperty(bytes, (plan) => refuses(shims.launch(['true'], { bytes: plan }))),
      { numRuns: 50, seed: 7 },
    );
  });

  test('but starts what is whole', async () => {
    const shim = shims.launch(['true'], { bytes: good });
    expect(await shim.ended).toBe(0);
    expect(existsSync(touched)).toBe(true);
  });
});

describe('encodePlan', () => {
  test('refuses what the kernel would cut short or not take', () => {
    expect(() => planThatTouches('a\0b')).toThrow(StartFailure);
    expect(() => planThatTouches('x'.repeat(PLAN_MAX_BYTES))).toThrow(
      expect.objectContaining({ syscall: 'execve', errnoCode: 'E2BIG' }),
    );
  });

  test('encodes what docs/shim.md says', () => {
    const bytes = planThatTouches('/f', {
      nice: -20,
      fence: { kind: 'replace', orphanAfterMs: 600_000 },
      startUntilMs: 77,
      handOverMs: 78,
      rlimits: [{ resource: 'openFiles', value: Number.POSITIVE_INFINITY }],
      stop: { signal: 'SIGUSR2', graceMs: 5 },
    });
    const value = (tag: number) => {
      const { at, length } = fieldOf(bytes, tag);
      return bytes.subarray(at + 8, at + 8 + length);
    };
    const numbers = (tag: number) => [...new BigUint64Array(new Uint8Array(value(tag)).buffer)].map(Number);
    expect(bytes.toString('latin1', 0, 8)).toBe('MSHPLAN1');
    expect(bytes.readUInt32LE(8)).toBe(fieldsOf(bytes).length);
    expect(value(1).toString()).toBe('touch\0');
    expect(numbers(15)).toEqual([12]);
    expect(numbers(17)).toEqual([2]);
    expect(numbers(18)).toEqual([600_000]);
    expect(value(19).toString()).toBe('/lease\0');
    expect(value(23)).toEqual(Buffer.concat([Buffer.from([7, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(16, 0xff)]));
    expect(numbers(25)).toEqual([0]);
    expect(numbers(29)).toEqual([77]);
    expect(numbers(30)).toEqual([78]);
  });
});
