import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MarkFile, type MarkRead, readMark } from '../../../scheduler/store/markFile';
import { newDirectory } from './opened';

const newPath = async () => join(await newDirectory(), 'mark');

it('is missing before it was made, and then has what was last raised, without a close or a sync', async () => {
  const path = await newPath();
  expect(await readMark(path)).toEqual({ kind: 'missing' });
  const mark = await MarkFile.open(path, 7);
  expect(await readMark(path)).toEqual({ kind: 'mark', number: 7 });
  for (const number of [8, 9, 2 ** 40, 2 ** 40 + 1]) {
    mark.raise(number);
    expect(await readMark(path)).toEqual({ kind: 'mark', number });
  }
  expect(mark.problem).toBeNull();
  await mark.close();
  expect((await stat(path)).size).toBe(1024);
});

it('loses one batch at most when the place of the last mark is torn', async () => {
  const path = await newPath();
  await (await MarkFile.open(path, 8)).close();
  const mark = await MarkFile.open(path, 8);
  mark.raise(9);
  await mark.close();
  const content = await readFile(path);
  const left: MarkRead[] = [];
  for (const slot of [0, 512]) {
    const torn = Buffer.from(content);
    torn[slot + 9] = torn[slot + 9]! ^ 1;
    await writeFile(path, torn);
    left.push(await readMark(path));
  }
  // One of them was the place of the mark before.
  expect(left).toEqual(expect.arrayContaining([8, 9].map((number) => ({ kind: 'mark', number }))));
});

it.each([0, 10, 511])('is damaged when %i bytes are left, and can be made anew', async (size) => {
  const path = await newPath();
  await (await MarkFile.open(path, 7)).close();
  await truncate(path, size);
  const read = await readMark(path);
  expect(read).toEqual(size < 20 ? { kind: 'damaged' } : { kind: 'mark', number: 7 });
  await (await MarkFile.open(path, 3)).close();
  expect(await readMark(path)).toEqual({ kind: 'mark', number: 3 });
  expect((await stat(path)).size).toBe(1024);
});
