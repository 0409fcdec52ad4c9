/** The scheduler's settings, checked; the command line makes them from flags and variables. */
import { z } from 'zod';
import { MorchError, parseInput } from '../contract/errors';
import { hostSchema } from '../contract/fields';

const schedulerOptionsSchema = z.strictObject({
  host: hostSchema.default('127.0.0.1'),
  port: z.int().min(0).max(65_535).default(5_000),
  dataDir: z.string().min(1),
});
export type SchedulerOptions = z.output<typeof schedulerOptionsSchema>;

/** @throws MorchError INVALID_INPUT naming the flag */
export function parseSchedulerOptions(value: unknown): SchedulerOptions {
  const options = parseInput(schedulerOptionsSchema, value, 'options');
  const { host } = options;
  // Nobody is asked who they are yet, so nobody from outside may come.
  if (host !== 'localhost' && host !== '::1' && !/^127\.\d+\.\d+\.\d+$/.test(host)) {
    throw new MorchError(
      'INVALID_INPUT',
      `--host ${host} is not a loopback address. There is no access control yet, so only 127.0.0.1, ::1 and localhost are served.`,
    );
  }
  return options;
}
