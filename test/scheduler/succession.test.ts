import { pino } from 'pino';
import { Succession } from '../../scheduler/succession';

const OWN = { epoch: 5, id: 'own' };
const WAIT_MS = 60_000;

function successionOf() {
  const told: string[] = [];
  const means = {
    term: OWN,
    onDeposed: () => told.push('deposed'),
    onSucceed: (epoch: number) => told.push(`beyond ${epoch}`),
  };
  const succession = new Succession(WAIT_MS, means, pino({ level: 'silent' }));
  return { succession, told };
}

const later = { epoch: 6, term: 'other', hasSession: true };
const earlier = { epoch: 4, term: 'before', hasSession: true };
const own = { epoch: 5, term: 'own', hasSession: true };

let nowMs = 0;
beforeEach(() => {
  nowMs = 1_000;
  jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
});
afterEach(() => jest.restoreAllMocks());

test('a later term that is proven deposes this one; one that is not changes nothing but that agent', () => {
  const { succession, told } = successionOf();
  expect(succession.heard('n1', later, false)).toBe('no');
  expect([succession.heard('n2', own, true), told]).toEqual(['yes', []]);
  expect(succession.deposedBy).toBeNull();
  expect(succession.heard('n1', later, true)).toBe('no');
  expect([succession.heard('n2', own, true), told]).toEqual(['no', ['deposed']]);
  expect(succession.deposedBy).toBe(6);
});

test('an agent that only obeyed an earlier term may be commanded, proven or not', () => {
  const { succession } = successionOf();
  for (const isProven of [true, false]) {
    expect(succession.heard('n1', { ...earlier, hasSession: false }, isProven)).toBe('yes');
  }
});

test('that an earlier term commands counts when most agents say so for a while', () => {
  const { succession, told } = successionOf();
  const hear = (node: string, said: typeof own) => succession.heard(node, said, true);
  const round = (...said: (typeof own)[]) => said.map((one, i) => hear(`n${i}`, one));
  expect(round(earlier, own, own)).toEqual(['later', 'yes', 'yes']);
  nowMs += 2_000;
  // One of three, for as long as it likes.
  for (let i = 0; i < 20; ++i) {
    nowMs += 1_000;
    expect(round(earlier, own, own)).toEqual(['no', 'yes', 'yes']);
  }
  expect(told).toEqual([]);
  expect(round(earlier, earlier, own)).toEqual(['no', 'later', 'yes']);
  nowMs += 2_000;
  expect(round(earlier, earlier, own)).toEqual(['no', 'no', 'no']);
  expect(told).toEqual(['deposed']);
});

test('of agents that were not heard for long nothing counts', () => {
  const { succession, told } = successionOf();
  succession.heard('n1', own, true);
  succession.heard('n2', own, true);
  nowMs += 11_000;
  succession.heard('n3', earlier, true);
  nowMs += 2_000;
  expect([succession.heard('n3', earlier, true), told]).toEqual(['no', ['deposed']]);
});
