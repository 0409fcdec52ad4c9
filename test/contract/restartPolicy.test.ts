import fc from 'fast-check';
import { attemptsAfterRun, decideRestart } from '../../contract/restartPolicy';
import { restartWithDefaults } from '../../contract/workload';

const batch = restartWithDefaults('batch', undefined);
const service = restartWithDefaults('service', undefined);
const failure = (attempts: number, ranMs = 0) => ({ outcome: 'failure' as const, attempts, ranMs });
const NO_JITTER = 0.5;

describe('restart policy', () => {
  it.each([
    ['a batch that succeeds is completed', batch, { outcome: 'success', attempts: 1, ranMs: 5 }, 'completed'],
    ['a batch that fails for the third time has failed', batch, failure(3), 'failed'],
    ['policy never ends at the first failure', { ...batch, policy: 'never' }, failure(1), 'failed'],
  ] as const)('%s', (_name, restart, run, status) => {
    expect(decideRestart(restart, run, NO_JITTER)).toMatchObject({ kind: 'end', status });
  });

  it('restarts a service whatever its exit, without limit', () => {
    expect(decideRestart(service, { outcome: 'success', attempts: 1_000, ranMs: 5 }, NO_JITTER).kind).toBe('restart');
  });

  it('restarts at once after a first run of a second or more', () => {
    expect(decideRestart(batch, failure(1, 1_000), NO_JITTER)).toEqual({ kind: 'restart', delayMs: 0 });
  });

  it('doubles the delay up to its maximum', () => {
    const delays = [1, 2, 3, 6, 7, 60].map((n) => decideRestart(service, failure(n), NO_JITTER));
    expect(delays.map((d) => d.kind === 'restart' && d.delayMs)).toEqual([1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
  });

  it('counts from nothing again after a long run', () => {
    expect(attemptsAfterRun(batch, { attempts: 3, ranMs: 60_000 })).toBe(0);
    expect(decideRestart(batch, failure(3, 60_000), NO_JITTER)).toEqual({ kind: 'restart', delayMs: 0 });
  });

  it('never waits longer than the maximum, nor more than 10 % off', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempts, jitter) => {
          const decision = decideRestart(service, failure(attempts), jitter);
          if (decision.kind !== 'restart') return false;
          const exact = Math.min(1_000 * 2 ** (attempts - 1), 60_000);
          return decision.delayMs <= 60_000 && Math.abs(decision.delayMs - exact) <= exact * 0.1 + 1;
        },
      ),
    );
  });
});
