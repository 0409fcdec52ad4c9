import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { openLevelStore } from '../../../scheduler/store/open';
import { until } from '../../support/until';
import { describeStore, entriesOf, keysOf, put } from './contract';
import { newDirectory, newStorePath, openSound } from './opened';

describeStore('the LevelDB store', async () => openSound(await newStorePath()));

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
    const batch = jest.spyOn(Level.prototype, 'batch');
    const store = await openSound(await newStorePath());
    try {
      await Promise.all(Array.from({ length: 1_000 }, (_, i) => store.write([put(`k/${i}`, i)])));
      expect(batch.mock.calls.length).toBeLessThanOrEqual(3);
      for (const [, options] of batch.mock.calls as unknown as [unknown, { sync: boolean }][]) {
        expect(options.sync).toBe(true);
      }
    } finally {
      batch.mockRestore();
      await store.close();
    }
  });

  it('names the directory, the flag and the likely cause when another holds the lock', async () => {
    const directory = await newStorePath();
    const holder = await openSound(directory);
    const error = (await openLevelStore(directory).catch((e: unknown) => e)) as Error;
    expect(error.message).toContain(directory);
    expect(error.message).toContain('--data-dir');
    expect(error.message).toContain('another process');
    await holder.close();
  });

  it('names the directory and the flag when it cannot be a directory', async () => {
    const path = join(await newDirectory(), 'file');
    await writeFile(path, 'not a directory');
    const error = (await openLevelStore(path).catch((e: unknown) => e)) as Error;
    expect(error.message).toContain(path);
    expect(error.message).toContain('--data-dir');
  });

  it('has every acknowledged write, whole, after kill -9 of the writing process', async () => {
    const directory = await newDirectory();
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [join(__dirname, 'writer.cjs'), join(directory, String(round))], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let printed = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        printed += text;
      });
      await until(() => printed.length > 2_000 * (round + 1), { timeoutMs: 20_000, what: 'the child has written' });
      child.kill('SIGKILL');
      await once(child, 'close');
      const acknowledged = printed
        .slice(0, printed.lastIndexOf('\n'))
        .split('\n')
        .map((line) => Number(line));
      const store = await openSound(join(directory, String(round)));
      const a = new Set(await keysOf(store, 'a/'));
      const b = new Set(await keysOf(store, 'b/'));
      expect(acknowledged.filter((n) => !a.has(`a/${n}`) || !b.has(`b/${n}`))).toEqual([]);
      expect([...a].filter((key) => !b.has(key.replace('a', 'b')))).toEqual([]);
      await store.close();
    }
  });

  /** The failure is injected at the boundary to LevelDB: a full disk needs a file system of its own. */
  describe('after a write error', () => {
    async function failingOnce(landed: boolean) {
      const directory = await newStorePath();
      const store = await openSound(directory);
      await store.write([put('a', 'before'), put('keep', 1)]);
      const real = Level.prototype.batch;
      const batch = jest.spyOn(Level.prototype, 'batch').mockImplementationOnce(async function (
        this: Level<string, string>,
        ...args: unknown[]
      ) {
        // What LevelDB's log may hold of a batch whose sync failed, seen after the reopening.
        if (landed) process.nextTick(() => void real.apply(this, args as never));
        throw Object.assign(new Error('IO error: 000003.log: No space left on device'), { code: 'LEVEL_IO_ERROR' });
      } as never);
      return { store, directory, batch };
    }

    it('refuses with the cause, then opens anew and goes on', async () => {
      const { store, batch } = await failingOnce(false);
      const open = jest.spyOn(Level.prototype, 'open');
      const error = await store.write([put('b', 1)]).catch((e: unknown) => e);
      expect(error).toMatchObject({ code: 'STORE_UNWRITABLE', cause: { message: expect.stringMatching(/No space/) } });
      expect(await store.get('a')).toBe('before');
      await store.write([put('c', 1)]);
      expect(open).toHaveBeenCalled();
      expect(await keysOf(store, '')).toEqual(['a', 'c', 'keep']);
      batch.mockRestore();
      open.mockRestore();
      await store.close();
    });

    it('leaves nothing of the refused batch even if it reached the log', async () => {
      const { store, directory, batch } = await failingOnce(true);
      await expect(store.write([put('a', 'refused'), put('b', 'refused')])).rejects.toThrow(/cannot be written/);
      await store.write([put('c', 1)]);
      batch.mockRestore();
      await store.close();
      const again = await openSound(directory);
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
      await store.close();
    } finally {
      expect(spawnSync('umount', [disk]).status).toBe(0);
    }
  });

  it('says so when a directory may not be written (not as root, who may)', async () => {
    if (process.getuid?.() === 0) return;
    const directory = await newDirectory();
    await chmod(directory, 0o500);
    await expect(openLevelStore(join(directory, 'store'))).rejects.toThrow(/--data-dir/);
  });
});
