/** Each rule of the protocol is needed: without it the search finds what it is there to rule out. */
import { beginningOf, type Plan } from './beginning';
import { stuckFinder } from './fairness';
import type { Rules } from './model/rules';
import { LEFT_OUT, NEVER_ENDS, PAST_GENERATIONS } from './rulesLeftOut';
import { type Result, search } from './search';

const WORLDS_AT_MOST = 300_000;

function searchWith(plan: Plan, rules: Partial<Rules>, wrong: RegExp): Result {
  const follow = wrong === NEVER_ENDS ? stuckFinder() : undefined;
  return search(beginningOf({ ...plan, rules }), WORLDS_AT_MOST, follow);
}

it.each(LEFT_OUT)(
  '$rule',
  ({ rules, plan, wrong }) => {
    expect(searchWith(plan, rules, wrong).found?.wrong).toMatch(wrong);
  },
  60_000,
);

it('a past generation is refused, even if it comes in another session', () => {
  const { plan, first, second, wrong } = PAST_GENERATIONS;
  expect(searchWith(plan, first, wrong)).toMatchObject({ found: null, isComplete: true });
  expect(searchWith(plan, { ...first, ...second }, wrong).found?.wrong).toMatch(wrong);
}, 60_000);
