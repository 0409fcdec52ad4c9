import { InvalidArgumentError } from 'commander';
import { collect, integer, parseConstraint, parsePair, parsePairs, text } from '../../cli/flags';
import { MorchError } from '../../contract/errors';
import { umaskSchema, userSchema } from '../../contract/fields';
import { constraintSchema } from '../../contract/workload';

describe('constraints', () => {
  test.each([
    ['zone=a', { label: 'zone', op: 'in', values: ['a'] }],
    ['zone=a,b', { label: 'zone', op: 'in', values: ['a', 'b'] }],
    ['zone!=a', { label: 'zone', op: 'notIn', values: ['a'] }],
    ['zone', { label: 'zone', op: 'exists' }],
    ['!zone', { label: 'zone', op: 'absent' }],
    ['path=a=b', { label: 'path', op: 'in', values: ['a=b'] }],
  ])('reads %s', (text, constraint) => {
    expect(parseConstraint(text)).toEqual(constraint);
    expect(constraintSchema.safeParse(parseConstraint(text)).success).toBe(true);
  });

  test.each(['', '!', '=a', '!=a', 'zone=', 'zone!=', '!zone=a'])('refuses "%s"', (text) => {
    expect(() => parseConstraint(text)).toThrow(MorchError);
  });
});

describe('pairs', () => {
  test('split at the first "="; the value may be empty', () => {
    expect(['A=1', 'A=', 'A=b=c'].map(parsePair)).toEqual([
      ['A', '1'],
      ['A', ''],
      ['A', 'b=c'],
    ]);
  });

  test.each(['A', '=1', ''])('refuse "%s"', (text) => {
    expect(() => parsePair(text)).toThrow(MorchError);
  });

  test('come several to a variable', () => {
    expect(parsePairs('zone=a,disk=ssd,')).toEqual([
      ['zone', 'a'],
      ['disk', 'ssd'],
    ]);
  });

  test('gather over repeated flags', () => {
    const parse = collect(parsePair);
    expect(parse('B=2', parse('A=1', undefined))).toEqual([
      ['A', '1'],
      ['B', '2'],
    ]);
  });
});

describe('texts of the contract', () => {
  test('are taken as they are, or refused in its words', () => {
    expect(text(userSchema)('www-data')).toBe('www-data');
    expect(() => text(userSchema)('No Body')).toThrow('"No Body" must be a login name');
    expect(() => text(umaskSchema)('9')).toThrow('"9" must be three octal digits, such as "027".');
  });
});

describe('whole numbers', () => {
  test('may be negative where the range says so', () => expect(integer(-20, 19)('-5')).toBe(-5));
  const parse = integer(0, 10);
  test('are taken within their range', () => expect(['0', '10'].map(parse)).toEqual([0, 10]));
  test.each(['-1', '11', '1.5', '1e1', '', ' 1', 'x'])('are refused as "%s"', (text) => {
    expect(() => parse(text)).toThrow(InvalidArgumentError);
  });
});
