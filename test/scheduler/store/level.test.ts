import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFile, chmod, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { openLevelStore } from '../../../scheduler/store/open';
import { describeStore, entriesOf, keysOf, put } from './contract';
import { killedWriter } from './killedWriter';
import { newDirectory, newStorePath, openSound } from './opened';

describeStore('the LevelDB store', async () => openSound(await newStorePath()));

/** How batches get to LevelDB. */
const { ChainedBatch } = require('classic-level/chained-batch') as {
  ChainedBatch: {
    prototype: { put(key: string, value: string): unknown; write(options: { sync: boolean }): Promise<void> };
  };
};

/** Of a file its content, of a directory what is in it; and when it was changed. */
async function stateOf(path: string): Promise<unknown> {
  const { mtimeMs } = await stat(path);
  const content = await readFile(path, 'base64').catch(() => readdir(path));
  return { path, mtimeMs, content };
}

/** Not one block is left. @returns the file that takes them */
async function fill(disk: string): Promise<string> {
  const path = join(disk, 'filling');
  try {
    for (;;) await appendFile(path, Buffer.alloc(4_096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return path;
}

describe('the LevelDB store', () => {
  it('still has everything after it was closed and opened again', async () => {
    const directory = join(await newDirectory(), 'made/by/the/store');
    const first = await openSound(directory);
    void first.write([put('a', 1)]);
    void first.write([put('b', 2)]);
    // Closing waits for what was asked for before.
    await first.close();
    const second = await openSound(directory);
    expect(await entriesOf(second, '')).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
    await second.close();
  });

  it('sends writes that arrive together out together', async () => {
    const write = jest.spyOn(ChainedBatch.prototype, 'write');
    const store = await openSound(await newStorePath());
    try {
      await Promise.all(Array.from({ length: 1_000 }, (_, i) => store.write([put(`k/${i}`, i)])));
      expect(write.mock.calls.length).toBeLessThanOrEqual(3);
      for (const call of write.mock.calls) expect(call).toEqual([{ sync: true }]);
    } finally {
      write.mockRestore();
      await store.close();
    }
  });

  it('refuses a second one on its files, and lets it touch none of them', async () => {
    const directory = await newStorePath();
    const holder = await openSound(directory);
    await holder.write([put('a', 1)]);
    const files = [directory, join(directory, '..'), `${directory}.mark`];
    const before = await Promise.all(files.map(stateOf));
    const error = (await openLevelStore(directory).catch((e: unknown) => e)) as Error;
    expect(error.message).toContain(directory);
    expect(error.message).toContain('--data-dir');
    expect(error.message).toContain('another process');
    expect(await Promise.all(files.map(stateOf))).toEqual(before);
    await holder.write([put('b', 1)]);
    await holder.close();
    await openSound(directory).then((store) => store.close());
  });

  it('refuses files that an earlier version, which knows no other lock than theirs, has open, and leaves nothing beside them', async () => {
    const directory = await newStorePath();
    const holder = new Level(directory);
    await holder.open();
    await expect(openLevelStore(directory)).rejects.toThrow(/another process.*--data-dir/);
    expect((await readdir(join(directory, '..'))).sort()).toEqual(['store', 'store.lock']);
    await holder.close();
  });

  it('does not mind a damaged lock', async () => {
    const directory = await newStorePath();
    await openSound(directory).then((store) => store.close());
    await writeFile(join(`${directory}.lock`, 'CURRENT'), '');
    await openSound(directory).then((store) => store.close());
  });

  it('names the directory and the flag when it cannot be a directory', async () => {
    const path = join(await newDirectory(), 'file');
    await writeFile(path, 'not a directory');
    const error = (await openLevelStore(path).catch((e: unknown) => e)) as Error;
    expect(error.message).toContain(path);
    expect(error.message).toContain('--data-dir');
  });

  it('has every acknowledged write, whole, after each kill -9 of the writing process, and is not taken for damaged', async () => {
    const directory = await newStorePath();
    const acknowledged: number[] = [];
    for (let round = 0; round < 10; round++) {
      const first = 100_000 * round;
      acknowledged.push(...(await killedWriter(directory, { first, afterWrites: 400 + 37 * round })));
      const store = await openSound(directory);
      const a = new Set(await keysOf(store, 'a/'));
      const b = new Set(await keysOf(store, 'b/'));
      expect(acknowledged.filter((n) => !a.has(`a/${n}`) || !b.has(`b/${n}`))).toEqual([]);
      expect([...a].filter((key) => !b.has(key.replace('a', 'b')))).toEqual([]);
      await store.close();
    }
  }, 60_000);

  /** The failure is injected at the boundary to LevelDB: a full disk needs a file system of its own. */
  describe('after a write error', () => {
    async function failingOnce(landed: boolean) {
      const directory = await newStorePath();
      const store = await openSound(directory);
      await store.write([put('a', 'before'), put('keep', 1)]);
      const puts = jest.spyOn(ChainedBatch.prototype, 'put');
      const batch = jest.spyOn(ChainedBatch.prototype, 'write').mockImplementationOnce(async function (this: unknown) {
        const ops = puts.mock.calls.map(([key, value]) => ({ type: 'put', key, value }) as const);
        puts.mockRestore();
        // What LevelDB's log may hold of a batch whose sync failed, seen after the reopening.
        if (landed) process.nextTick(() => void (this as { db: Level }).db.batch(ops));
        throw Object.assign(new Error('IO error: 000003.log: No space left on device'), { code: 'LEVEL_IO_ERROR' });
      });
      return { store, directory, batch };
    }

    it('refuses with the cause, then opens anew and goes on', async () => {
      const { store, directory, batch } = await failingOnce(false);
      const open = jest.spyOn(Level.prototype, 'open');
      const error = await store.write([put('b', 1)]).catch((e: unknown) => e);
      expect(error).toMatchObject({ code: 'STORE_UNWRITABLE', cause: { message: expect.stringMatching(/No space/) } });
      expect(await store.get('a')).toBe('before');
      expect(store.mark).toBe(1);
      await store.write([put('c', 1)]);
      expect(open).toHaveBeenCalled();
      expect(await keysOf(store, '')).toEqual(['a', 'c', 'keep']);
      expect(store.mark).toBe(2);
      batch.mockRestore();
      open.mockRestore();
      await store.close();
      await openSound(directory).then((again) => again.close());
    });

    it('leaves nothing of the refused batch even if it reached the log', async () => {
      const { store, directory, batch } = await failingOnce(true);
      await expect(store.write([put('a', 'refused'), put('b', 'refused')])).rejects.toThrow(/cannot be written/);
      await store.write([put('c', 1)]);
      batch.mockRestore();
      await store.close();
      const again = await openSound(directory);
      expect(again.mark).toBe(2);
      expect(await entriesOf(again, '')).toEqual([
        ['a', 'before'],
        ['c', 1],
        ['keep', 1],
      ]);
      await again.close();
    });

    it('refuses all of a group, and a range under way reads on after the reopening', async () => {
      const { store, batch } = await failingOnce(false);
      await expect(store.write([put('x', 1)])).rejects.toThrow();
      const iterator = store.range('')[Symbol.asyncIterator]();
      expect((await iterator.next()).value).toEqual(['a', 'before']);
      await store.write([put('z', 1)]);
      const rest: unknown[] = [];
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) rest.push(next.value[0]);
      expect(rest).toEqual(['keep', 'z']);
      batch.mockRestore();
      await store.close();
    });
  });

  it('refuses writes on a full disk, still reads, and goes on when there is room (needs the right to mount)', async () => {
    const disk = await newDirectory();
    const mount = (options: string) => spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]).status === 0;
    if (!mount('size=24m')) return;
    try {
      const store = await openSound(join(disk, 'store'));
      const acknowledged: string[] = [];
      let refusal: unknown;
      for (let i = 100; refusal === undefined && i < 1_000; i++) {
        // Random, so that compression does not make room.
        const write = store.write([put(`k/${i}`, randomBytes(200_000).toString('base64'))]);
        await write.then(
          () => acknowledged.push(`k/${i}`),
          (error: unknown) => {
            refusal = error;
          },
        );
      }
      expect(refusal).toMatchObject({ code: 'STORE_UNWRITABLE' });
      await expect(store.write([put('small', 1)])).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
      expect(await store.get('k/100')).toEqual(expect.any(String));
      expect(await keysOf(store, 'k/')).toEqual(acknowledged);
      expect(mount('remount,size=96m')).toBe(true);
      await store.write([put('k/after', 1)]);
      expect(await keysOf(store, '')).toEqual([...acknowledged, 'k/after']);
      expect(store.mark).toBe(acknowledged.length + 1);
      expect(store.markProblem).toBeNull();
      await store.close();
      const again = await openSound(join(disk, 'store'));
      expect(await keysOf(again, '')).toEqual([...acknowledged, 'k/after']);
      expect(again.mark).toBe(acknowledged.length + 1);
      await again.close();
    } finally {
      expect(spawnSync('umount', [disk]).status).toBe(0);
    }
  });

  it('says how much room it needs to go on, which is little for a small store (needs the right to mount)', async () => {
    const disk = await newDirectory();
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk]).status !== 0) return;
    try {
      const store = await openSound(join(disk, 'store'));
      for (let i = 0; i < 100; i++) await store.write([put(`k/${i}`, i)]);
      const filling = await fill(disk);
      const refusals = [
        await store.write([put('first', 'x'.repeat(200_000))]).catch((error: unknown) => error),
        await store.write([put('again', 1)]).catch((error: unknown) => error),
      ] as Error[];
      const rooms = refusals.map(({ message }) => Number(/once ([\d.]+) MiB can be written/.exec(message)?.[1]));
      for (const room of rooms) expect(room).toBeLessThan(2);
      // Somewhat less than it asks for.
      await truncate(filling, (await stat(filling)).size - Math.floor((rooms[1]! - 0.2) * 2 ** 20));
      await expect(store.write([put('early', 1)])).rejects.toThrow(/once [\d.]+ MiB/);
      expect(await store.get('k/7')).toBe(7);
      await truncate(filling, (await stat(filling)).size - Math.ceil(0.3 * 2 ** 20));
      await store.write([put('late', 1)]);
      expect((await keysOf(store, '')).filter((key) => !key.startsWith('k/'))).toEqual(['late']);
      await store.close();
    } finally {
      expect(spawnSync('umount', [disk]).status).toBe(0);
    }
  });

  it.each([
    ['very small records', 40_000, () => 1],
    ['large ones', 20, () => randomBytes(150_000).toString('base64')],
  ])(
    'has enough with the room that it asks for, with a log full of %s (needs the right to mount)',
    async (_, count, value) => {
      const disk = await newDirectory();
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', disk]).status !== 0) return;
      try {
        const store = await openSound(join(disk, 'store'));
        await store.write(Array.from({ length: count }, (_, i) => put(`k/${i}`, value())));
        const filling = await fill(disk);
        const error = await store.write([put('late', 'x'.repeat(200_000))]).catch((e: unknown) => e as Error);
        const room = Number(/once ([\d.]+) MiB can be written/.exec((error as Error).message)?.[1]);
        await truncate(filling, (await stat(filling)).size - Math.ceil(room * 2 ** 20));
        await store.write([put('late', 1)]);
        expect(await keysOf(store, 'k/')).toHaveLength(count);
        await store.close();
      } finally {
        expect(spawnSync('umount', [disk]).status).toBe(0);
      }
    },
  );

  it('says so when a directory may not be written (not as root, who may)', async () => {
    if (process.getuid?.() === 0) return;
    const directory = await newDirectory();
    await chmod(directory, 0o500);
    await expect(openLevelStore(join(directory, 'store'))).rejects.toThrow(/--data-dir/);
  });
});
