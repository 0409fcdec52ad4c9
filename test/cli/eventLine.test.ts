import { eventLine } from '../../cli/tables';

const exited = {
  seq: 7,
  at: '2030-01-01T00:00:00.000Z',
  type: 'instance.exited',
  workload: 'web',
  instance: 'web.0',
  generation: 2,
  node: 'n1',
} as const;

it.each([
  [{ code: 3, signal: null, at: '2030-01-01T00:00:00.000Z', oomKilled: false }, 'exit="exit 3"'],
  [
    { code: null, signal: 'SIGKILL', at: '2030-01-01T00:00:00.000Z', oomKilled: true },
    'exit="SIGKILL (out of memory)"',
  ],
])('an event is a line of words, its exit as well', (exit, word) => {
  const data = { uid: 'u', reason: 'ended too soon', run: 1, exit, none: null };
  expect(eventLine({ ...exited, data })).toBe(
    `2030-01-01T00:00:00.000Z  #7  instance.exited  web.0  on n1  generation=2  reason="ended too soon"  run=1  ${word}`,
  );
});
