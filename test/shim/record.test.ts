import { parseShimText } from '../../agent/shim/record';

const NONCE = '4e9c6d00-aaaa-4bbb-8ccc-000000000001';

describe('parseShimText', () => {
  test('reads every kind of line', () => {
    const text = [
      `shim 1 ${NONCE} 10 1000`,
      `started ${NONCE} 10 1000 11 1001 1795479130171`,
      `exited ${NONCE} 1 -1 9 1795479132172 1788 2500 1392 1 77 1`,
      `gone ${NONCE} 1795479132173`,
      `failed ${NONCE} execve 2`,
      '',
    ].join('\n');
    expect(parseShimText(text)).toEqual({
      rest: '',
      lines: [
        { kind: 'shim', nonce: NONCE, shimPid: 10, shimStartTicks: 1000 },
        {
          kind: 'started',
          nonce: NONCE,
          shimPid: 10,
          shimStartTicks: 1000,
          pid: 11,
          startTicks: 1001,
          startedAtMs: 1_795_479_130_171,
        },
        {
          kind: 'exited',
          nonce: NONCE,
          durable: true,
          code: null,
          signal: 'SIGKILL',
          exitedAtMs: 1_795_479_132_172,
          userMs: 1.788,
          systemMs: 2.5,
          maxRssBytes: 1392 * 1024,
          oomKilled: true,
          droppedBytes: 77,
          fenced: true,
        },
        { kind: 'gone', nonce: NONCE, atMs: 1_795_479_132_173 },
        { kind: 'failed', nonce: NONCE, step: 'execve', errno: 2, errnoCode: 'ENOENT' },
      ],
    });
  });

  test('leaves a line that is not whole', () => {
    const { lines, rest } = parseShimText(`gone ${NONCE} 1\ngone ${NONCE} 179`);
    expect(lines).toHaveLength(1);
    expect(rest).toBe(`gone ${NONCE} 179`);
  });

  test('ignores words that a later version adds, and lines that it does not know', () => {
    expect(parseShimText(`gone ${NONCE} 5 more words\n`).lines).toEqual([{ kind: 'gone', nonce: NONCE, atMs: 5 }]);
    expect(parseShimText(`shim 2 ${NONCE} 10 1000\nthawed ${NONCE} 1\n\n`).lines).toEqual([]);
  });

  test.each([
    `exited ${NONCE} 1 0 0 1 2 3 4 0`,
    `exited ${NONCE} 1 zero 0 1 2 3 4 0 0`,
    'gone short 5',
    `gone ${NONCE}`,
    `failed ${NONCE} execve`,
    `started ${NONCE}`,
    '\0'.repeat(100),
    'x'.repeat(5000),
  ])('ignores a damaged line: %.40s', (line) => {
    expect(parseShimText(`${line}\n`)).toEqual({ lines: [], rest: '' });
  });
});
