import { isMassFailure } from '../../../scheduler/core/brake';

test.each([
  ['one of one', 1, 1, false],
  ['one of two', 1, 2, false],
  ['both of two', 2, 2, true],
  ['eight of nine', 8, 9, false],
  ['all of nine', 9, 9, true],
  ['five of ten', 5, 10, false],
  ['six of ten', 6, 10, true],
  ['54 of 100', 54, 100, false],
  ['55 of 100', 55, 100, true],
  ['none of none', 0, 0, false],
])('%s gone at once', (_, gone, counted, expected) => {
  expect(isMassFailure(gone, counted)).toBe(expected);
});
