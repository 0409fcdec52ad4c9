import { FrameReader, frameHead, type LogFrame, logPositionParameter } from '../../contract/logFrames';
import { resolveSince, sinceSchema } from '../../contract/since';

describe('frames', () => {
  const position = { stdout: { number: 3, offset: 4096 }, stderr: { number: 1, offset: 0 } };
  const texts = ['', 'some\nlines\n', '12 3:4,5:6\nlooks like a head', '\n'];
  const wire = Buffer.concat(texts.map((text) => Buffer.from(frameHead(Buffer.byteLength(text), position) + text)));

  test('come out as they went in, however they are cut', () => {
    for (let size = 1; size <= wire.length; size += 1) {
      const reader = new FrameReader();
      const frames: LogFrame[] = [];
      for (let at = 0; at < wire.length; at += size) frames.push(...reader.push(wire.subarray(at, at + size)));
      expect(frames.map(({ bytes }) => bytes.toString())).toEqual(texts);
      expect(logPositionParameter.parse(frames.at(-1)!.position)).toEqual(position);
    }
  });

  test('that are none are refused', () => {
    for (const text of ['what is this\n', 'x'.repeat(200)]) {
      expect(() => new FrameReader().push(Buffer.from(text))).toThrow(/not the head of a frame/);
    }
    for (const text of ['', '1:2', '1:2,3:4,5:6', '-1:0,0:0'])
      expect(logPositionParameter.safeParse(text).success).toBe(false);
  });
});

describe('since', () => {
  test.each([
    ['10m', 400_000],
    ['1h30m', 0],
    ['500ms', 999_500],
    ['1.5s', 998_500],
    ['0s', 1_000_000],
    ['1970-01-01T00:00:07Z', 7_000],
    ['1970-01-01T01:00:07.5+01:00', 7_500],
    ['1970-01-01T00:01Z', 60_000],
  ])('%s is understood', (text, atMs) => {
    expect(resolveSince(sinceSchema.parse(text), 1_000_000)).toBe(atMs);
  });

  test.each([
    '',
    '10',
    'm',
    '10 m',
    '-5m',
    '5y',
    'yesterday',
    '2026-01-31',
    '2026-01-31T08:00',
    '2026-13-31T08:00:00Z',
    `${'9'.repeat(12)}d`,
  ])('"%s" is refused, with examples', (text) => {
    const { error } = sinceSchema.safeParse(text);
    expect(error?.issues[0]?.message).toMatch(/such as 10m/);
  });
});
