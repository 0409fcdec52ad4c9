import { LongList } from '../../../scheduler/events/longList';

it('keeps what an array would, under the indexes of when it was pushed', () => {
  const list = new LongList<number>();
  const array: number[] = [];
  let first = 0;
  const grow = (by: number): void => {
    for (let i = 0; i < by; i++) {
      list.push(array.length * 7);
      array.push(array.length * 7);
    }
  };
  // Whole blocks, parts of them, everything, and more than once.
  for (const [by, drop] of [
    [1, 0],
    [20_000, 5],
    [100, 8_192],
    [8_191, 16_384],
    [1, 28_293],
    [10_000, 28_294],
    [0, 100],
    [3, 38_296],
  ] as const) {
    grow(by);
    list.dropBefore(drop);
    first = Math.max(first, drop);
    expect([list.first, list.end]).toEqual([first, array.length]);
    expect([...list]).toEqual(array.slice(first));
    if (first < array.length) expect([list.at(first), list.at(list.end - 1)]).toEqual([array[first], array.at(-1)]);
  }
});
