import { z } from 'zod';
import { type MorchError, parseInput } from '../../contract/errors';

const faultOf = (value: unknown): MorchError => {
  try {
    parseInput(z.strictObject({ id: z.string() }), value);
  } catch (error) {
    return error as MorchError;
  }
  throw new Error('it was taken');
};

test('of very many faults the first hundred are told, and how many there are', () => {
  const keys = Array.from({ length: 5_000 }, (_, i) => [`k${i}`, 1]);
  const { message, errors } = faultOf({ id: 'x', ...Object.fromEntries(keys) });
  expect(message).toBe('The body is not valid: /k0: unknown field (and 4999 more)');
  expect(errors).toHaveLength(100);
});

test('of a very long name the beginning is told', () => {
  const { message } = faultOf({ id: 'x', ['a'.repeat(100_000)]: 1 });
  expect(message).toBe(`The body is not valid: /${'a'.repeat(200)}: unknown field`);
});
