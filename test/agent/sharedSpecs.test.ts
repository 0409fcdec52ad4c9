import { SharedSpecs } from '../../agent/sharedSpecs';

const parse = (text: string) => JSON.parse(text) as Record<string, unknown>;

test('what equals the spec before is kept once, and what differs stays', () => {
  const specs = new SharedSpecs();
  const text = (slot: number, value: string) =>
    `{"uid":"u","slot":"${slot}","command":["sleep","9"],"env":{"A":"${value}"},"restart":{"policy":"always"}}`;
  const first = specs.share(parse(text(0, 'a')));
  const second = specs.share(parse(text(1, 'a')));
  const third = specs.share(parse(text(2, 'b')));
  expect([first, second, third]).toEqual([parse(text(0, 'a')), parse(text(1, 'a')), parse(text(2, 'b'))]);
  expect(second.command).toBe(first.command);
  expect(second.env).toBe(first.env);
  expect(third.command).toBe(first.command);
  expect(third.env).not.toBe(first.env);
});

test('what only the spec before has is not taken over', () => {
  const specs = new SharedSpecs();
  specs.share(parse('{"uid":"u","env":{"A":"a"}}'));
  expect(specs.share(parse('{"uid":"u"}'))).toEqual({ uid: 'u' });
});
