/**
 * Searches through the model of the protocol (model/world.ts and beside it): whatever goes wrong so often, in whatever order,
 * nothing comes of it that docs/protocol.md rules out; and when nothing more goes wrong, all comes to be as its user wants it.
 *
 * MODEL_TIMES=3 lets three things go wrong (a quarter of an hour; NODE_OPTIONS=--max-old-space-size=14000).
 * MODEL_ORDERS=all looks at every order of what is due at a moment there, too.
 */
import { beginningOf, type Plan } from './beginning';
import { stuckFinder } from './fairness';
import { FAULTS, type Fault } from './model/world';
import { search } from './search';

const TIMES = Number(process.env.MODEL_TIMES ?? 2);
const ORDERS = process.env.MODEL_ORDERS === 'all' ? 'all' : 'one';
const WORLDS_AT_MOST = 50_000_000;
const TEST_TIMEOUT_MS = TIMES > 2 ? 7_200_000 : 300_000;

const ALL = Object.keys(FAULTS) as Fault[];
/** Without what users and programs do. */
const FAILURES = ALL.filter((fault) => !['wipe', 'exit', 'stop', 'forget'].includes(fault));

/** Each world is followed until all is as it should be, and one in so many of a large search. */
function expectSound(plan: Plan, followOneIn = 1): void {
  const findStuck = stuckFinder();
  const { found, isComplete } = search(beginningOf(plan), WORLDS_AT_MOST, (w, number) =>
    number % followOneIn === 0 ? findStuck(w) : null,
  );
  expect(found).toBeNull();
  expect(isComplete).toBe(true);
}

describe('whatever goes wrong once, in every order', () => {
  const once = { faults: ALL, times: 1, runs: 2, orders: 'all' } as const;
  it.each<[string, Plan]>([
    ['a fenced instance never lives twice', { onDisconnect: 'stop', ...once }],
    ['one that is replaced lives twice only while its node is not heard', { onDisconnect: 'replace', ...once }],
    ['one that is kept never lives twice', { onDisconnect: 'keep', ...once }],
  ])('%s', (_name, plan) => expectSound(plan), TEST_TIMEOUT_MS);

  it.each<[string, Plan]>([
    [
      'a fenced instance never lives twice on a slow clock',
      { pace: 101, graceMs: 6_000, ...once, onDisconnect: 'stop' },
    ],
    ['nor on a fast one', { pace: 99, ...once, onDisconnect: 'stop' }],
    [
      'nor where it may go wrong on either node',
      { both: true, ...once, faults: FAILURES, onDisconnect: 'stop', orders: 'one' },
    ],
  ])('%s', (_name, plan) => expectSound(plan, 11), TEST_TIMEOUT_MS);
});

describe(`whatever fails ${TIMES} times`, () => {
  const often = { faults: FAILURES, times: TIMES, orders: ORDERS } as const;
  it.each<[string, Plan]>([
    ['a fenced instance never lives twice', { onDisconnect: 'stop', ...often }],
    ['one that is replaced lives twice only while its node is not heard', { onDisconnect: 'replace', ...often }],
  ])('%s', (_name, plan) => expectSound(plan, 97), TEST_TIMEOUT_MS);

  const acts: [string, Fault[]][] = [
    ['and a user stops it', ['stop', 'late', 'agentCrash']],
    ['and its program ends by itself', ['exit', 'agentStall', 'cut']],
    ['and a user has its node forgotten', ['forget', 'late', 'cut']],
    ['and the state of its agent is deleted', ['wipe', 'late', 'cut']],
  ];
  it.each(acts)(
    '%s',
    (_name, faults) => {
      const plan: Plan = { onDisconnect: 'stop', faults, times: TIMES, orders: ORDERS, runs: 2, graceMs: 6_000 };
      expectSound(plan, 97);
    },
    TEST_TIMEOUT_MS,
  );
});
