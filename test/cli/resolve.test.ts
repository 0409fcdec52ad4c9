import { chooseId, editDistance } from '../../cli/resolve';

describe('choosing an id', () => {
  const known = ['web', 'web-2', 'worker', 'cron'];

  test.each([
    ['web', { kind: 'found', id: 'web' }],
    ['wo', { kind: 'found', id: 'worker' }],
    ['web-', { kind: 'found', id: 'web-2' }],
    ['w', { kind: 'ambiguous', candidates: ['web', 'web-2', 'worker'] }],
    ['we', { kind: 'ambiguous', candidates: ['web', 'web-2'] }],
    ['wrker', { kind: 'unknown', nearest: 'worker' }],
    ['corn', { kind: 'unknown', nearest: 'cron' }],
    ['something-else', { kind: 'unknown', nearest: null }],
    ['', { kind: 'unknown', nearest: null }],
  ])('of "%s"', (typed, resolution) => {
    expect(chooseId(typed, known)).toEqual(resolution);
  });

  test('finds nothing among nothing', () => {
    expect(chooseId('web', [])).toEqual({ kind: 'unknown', nearest: null });
  });
});

test.each([
  ['', '', 0],
  ['', 'abc', 3],
  ['kitten', 'sitting', 3],
  ['web', 'web', 0],
  ['web', 'wbe', 2],
])('the edit distance of "%s" and "%s" is %d', (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
  expect(editDistance(b, a)).toBe(distance);
});
