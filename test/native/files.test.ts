/** The files that agent and shims share: the FIFO of notices, the lease page; and the lock on the data directory. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { until } from '../support/until';
import { openDescriptors, useWorkloads } from './workloads';

const { native, directory } = useWorkloads();
const path = (name: string) => join(directory, name);
/** open(2); Node has no name for it. */
const O_CLOEXEC = 0o2000000;
const failure = (code: string) => expect.objectContaining({ name: 'NativeError', code });

describe('openFifo', () => {
  test('makes a FIFO that only this user can use, and opens the same one again', () => {
    const fd = native.openFifo(path('fifo'));
    const { mode, ino } = statSync(path('fifo'));
    expect(mode & constants.S_IFMT).toBe(constants.S_IFIFO);
    expect(mode & 0o777).toBe(0o600);
    closeSync(fd);
    const again = native.openFifo(path('fifo'));
    expect(statSync(path('fifo')).ino).toBe(ino);
    closeSync(again);
  });

  test('reads what is written, never blocks, and shows no end of file when a writer leaves', () => {
    const fd = native.openFifo(path('notices'));
    const buffer = Buffer.alloc(100);
    const read = () => buffer.toString('utf8', 0, readSync(fd, buffer));
    expect(read).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    for (const text of ['one\n', 'two\n']) {
      const writer = openSync(path('notices'), constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(writer, text);
      closeSync(writer);
      expect(read()).toBe(text);
      expect(read).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    }
    closeSync(fd);
  });

  test('has room for thousands of notices', () => {
    const fd = native.openFifo(path('room'));
    const notice = Buffer.alloc(200, '.');
    let written = 0;
    const fill = () => {
      for (;;) written += writeSync(fd, notice);
    };
    expect(fill).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    // 1 MiB, or what pipe-max-size and the pipes of this user leave: at least the usual 64 KiB.
    expect(written).toBeGreaterThan(60_000);
    closeSync(fd);
  });

  test('closes on exec', () => {
    const fd = native.openFifo(path('exec'));
    const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
    expect(Number.parseInt(flags, 8) & O_CLOEXEC).toBe(O_CLOEXEC);
    closeSync(fd);
  });

  test('refuses what is no FIFO and leaves it as it is', () => {
    writeFileSync(path('plain'), 'kept');
    closeSync(native.openFifo(path('target')));
    symlinkSync(path('target'), path('link'));
    for (const name of ['plain', 'link', '.']) expect(() => native.openFifo(path(name))).toThrow(failure('EEXIST'));
    expect(readFileSync(path('plain'), 'utf8')).toBe('kept');
    expect(() => native.openFifo(path('missing/fifo'))).toThrow(failure('ENOENT'));
  });
});

describe('lease page', () => {
  const fieldsOf = (name: string) => {
    const bytes = readFileSync(path(name));
    return [0, 8, 16, 24, 32].map((offset) => Number(bytes.readBigUInt64LE(offset)));
  };

  test('is laid out as docs/shim.md says', () => {
    const page = native.openLease(path('lease'));
    expect(statSync(path('lease'))).toMatchObject({ size: 4096, mode: constants.S_IFREG | 0o600 });
    expect(fieldsOf('lease')).toEqual([0, 0, 0, 0, 0]);
    expect(page.read()).toEqual({ endsAtMs: 0, term: 0 });
    const before = native.bootTimeMs();
    page.refresh({ endsAtMs: before + 13_000, term: 7 }, true);
    const [version, refreshed, end, hasScheduler, term] = fieldsOf('lease');
    expect(version).toBe(1);
    expect(refreshed).toBeGreaterThanOrEqual(before);
    expect(refreshed).toBeLessThanOrEqual(native.bootTimeMs());
    expect(end).toBe(before + 13_000);
    expect(hasScheduler).toBe(1);
    expect(term).toBe(7);
    expect(page.read()).toEqual({ endsAtMs: end, term });
    expect(
      readFileSync(path('lease'))
        .subarray(40)
        .every((byte) => byte === 0),
    ).toBe(true);
    page.close();
  });

  test('takes whole numbers only, and none from no scheduler', () => {
    const page = native.openLease(path('kinds'));
    page.refresh({ endsAtMs: 1, term: 3 }, false);
    expect(fieldsOf('kinds').slice(2)).toEqual([1, 0, 3]);
    for (const invalid of [Number.NaN, Number.POSITIVE_INFINITY, 0.5, -1, undefined as unknown as number]) {
      expect(() => page.refresh({ endsAtMs: invalid, term: 4 }, true)).toThrow(failure('EINVAL'));
      expect(() => page.refresh({ endsAtMs: 2, term: invalid }, true)).toThrow(failure('EINVAL'));
    }
    expect(fieldsOf('kinds').slice(2)).toEqual([1, 0, 3]);
    page.close();
  });

  test('is refreshed with a time that only rises', async () => {
    const page = native.openLease(path('rising'));
    let last = 0;
    const first = native.bootTimeMs();
    await until(
      () => {
        page.refresh({ endsAtMs: 0, term: 0 }, true);
        const refreshed = fieldsOf('rising')[1]!;
        expect(refreshed).toBeGreaterThanOrEqual(last);
        last = refreshed;
        return last > first + 20;
      },
      { what: '20 ms pass' },
    );
    const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1_000;
    expect(Math.abs(native.bootTimeMs() - uptimeMs)).toBeLessThan(1_000);
    page.close();
  });

  test('keeps what it said when it is closed and opened again, until it is refreshed', () => {
    const page = native.openLease(path('kept'));
    page.refresh({ endsAtMs: 5_000, term: 2 }, true);
    const said = fieldsOf('kept');
    page.close();
    page.close();
    expect(() => page.refresh({ endsAtMs: 1, term: 2 }, true)).toThrow(failure('EBADF'));
    const again = native.openLease(path('kept'));
    expect(fieldsOf('kept')).toEqual(said);
    expect(again.read()).toEqual({ endsAtMs: 5_000, term: 2 });
    again.refresh({ endsAtMs: 0, term: 3 }, true);
    expect(fieldsOf('kept')[2]).toBe(0);
    again.close();
  });

  test('repairs a file that is too short, and refuses what is no file', () => {
    writeFileSync(path('short'), 'x');
    native.openLease(path('short')).close();
    expect(statSync(path('short')).size).toBe(4096);
    symlinkSync(path('short'), path('lease-link'));
    expect(() => native.openLease(path('lease-link'))).toThrow(failure('ELOOP'));
    expect(() => native.openLease(directory)).toThrow(failure('EISDIR'));
    expect(() => native.openLease(path('missing/lease'))).toThrow(failure('ENOENT'));
  });

  test('needs no descriptor', () => {
    const before = openDescriptors().length;
    const page = native.openLease(path('descriptors'));
    expect(openDescriptors()).toHaveLength(before);
    page.close();
  });
});

describe('lockFile', () => {
  test('locks against later calls and other processes, and makes the file', () => {
    expect(native.lockFile(path('lock'))).toBe(true);
    expect(existsSync(path('lock'))).toBe(true);
    expect(native.lockFile(path('lock'))).toBe(false);
    expect(spawnSync('flock', ['-n', path('lock'), 'true']).status).toBe(1);
    expect(() => native.lockFile(path('missing/lock'))).toThrow(failure('ENOENT'));
  });
});
