/** The orders choose what placement.ts chooses, whatever happens to the nodes in between. */
import fc from 'fast-check';
import { LabelIndex } from '../../../scheduler/core/labelIndex';
import { NodeTable } from '../../../scheduler/core/nodeTable';
import { type Candidate, choosePlacement, type PlacementRequest, satisfies } from '../../../scheduler/core/placement';
import { PlacementOrder } from '../../../scheduler/core/placementOrders';

const IDS = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const UNSEEN = 100;

const labels = fc.record(
  { zone: fc.constantFrom('x', 'y', 'z'), disk: fc.constantFrom('ssd', 'hdd') },
  { requiredKeys: [] },
);
const node = fc.record({
  id: fc.constantFrom(...IDS),
  labels,
  closed: fc.constantFrom(null, null, null, 'is lost'),
  cordoned: fc.constantFrom(false, false, false, true),
  features: fc.constantFrom([], ['user']),
  capacity: fc.record({ cpuMillis: fc.constantFrom(1_000, 4_000), memoryBytes: fc.constantFrom(1_000, 2_000) }),
  cpuPercent: fc.constantFrom(null, 3, 15, 80),
});
const constraint = fc.oneof(
  fc.record({ label: fc.constantFrom('zone', 'disk'), op: fc.constantFrom('exists' as const, 'absent' as const) }),
  fc.record({
    label: fc.constantFrom('zone', 'disk'),
    op: fc.constantFrom('in' as const, 'notIn' as const),
    values: fc.subarray(['x', 'y', 'ssd', 'nowhere']),
  }),
);
const request = fc.record({
  resources: fc.record({ cpuMillis: fc.constantFrom(0, 300), memoryBytes: fc.constantFrom(0, 400) }),
  rules: fc.record({
    strategy: fc.constantFrom('spread' as const, 'binpack' as const),
    constraints: fc.array(constraint, { maxLength: 2 }),
  }),
  features: fc.constantFrom([], ['user']),
}) as unknown as fc.Arbitrary<PlacementRequest>;
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ place: fc.nat({ max: 2 }), tried: fc.subarray(IDS, { maxLength: 2 }) }) },
  { weight: 1, arbitrary: node },
  { weight: 1, arbitrary: fc.record({ gone: fc.constantFrom(...IDS) }) },
  { weight: 1, arbitrary: fc.record({ freed: fc.constantFrom(...IDS), of: fc.nat({ max: 2 }) }) },
);

it('choose what one look at all the nodes chooses', () => {
  let placed = 0;
  fc.assert(
    fc.property(
      fc.tuple(request, request, request),
      fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }),
      (requests, steps) => {
        const table = new NodeTable();
        const candidates = new Map<string, Candidate>();
        const counts = requests.map(() => new Map<string, number>());
        const orders = requests.map((asked, at) => new PlacementOrder(table, asked, counts[at]!));
        for (const act of steps) {
          if ('gone' in act) {
            candidates.delete(act.gone);
            for (const count of counts) count.delete(act.gone);
            table.remove(act.gone);
          } else if ('id' in act) {
            const { allocated = { cpuMillis: 0, memoryBytes: 0 }, instanceCount = 0 } = candidates.get(act.id) ?? {};
            const measured = { ...act, allocated, instanceCount, unseenCpuMillis: 0, workloadInstanceCount: 0 };
            candidates.set(act.id, measured);
            table.put(measured);
          } else if ('freed' in act) {
            const candidate = candidates.get(act.freed);
            const { [act.of]: count } = counts;
            if (candidate === undefined || !count!.has(act.freed)) continue;
            const { cpuMillis, memoryBytes } = requests[act.of]!.resources;
            candidate.allocated = {
              cpuMillis: candidate.allocated.cpuMillis - cpuMillis,
              memoryBytes: candidate.allocated.memoryBytes - memoryBytes,
            };
            candidate.instanceCount -= 1;
            count!.set(act.freed, count!.get(act.freed)! - 1);
            if (count!.get(act.freed) === 0) count!.delete(act.freed);
            table.put(candidate);
          } else {
            const asked = requests[act.place]!;
            const own = counts[act.place]!;
            for (const candidate of candidates.values()) candidate.workloadInstanceCount = own.get(candidate.id) ?? 0;
            const expected = choosePlacement({ ...asked, triedNodes: act.tried }, [...candidates.values()]);
            const row = orders[act.place]!.best(act.tried);
            expect(row < 0 ? null : table.ids[row]).toBe(expected.kind === 'placed' ? expected.nodeId : null);
            if (expected.kind !== 'placed') continue;
            placed += 1;
            orders[act.place]!.take(row, UNSEEN);
            const taken = candidates.get(expected.nodeId)!;
            const { cpuMillis, memoryBytes } = asked.resources;
            taken.allocated = {
              cpuMillis: taken.allocated.cpuMillis + cpuMillis,
              memoryBytes: taken.allocated.memoryBytes + memoryBytes,
            };
            taken.unseenCpuMillis += UNSEEN;
            taken.instanceCount += 1;
            own.set(taken.id, (own.get(taken.id) ?? 0) + 1);
          }
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(placed).toBeGreaterThan(1_000);
});

it('tells of more room only when there may be', () => {
  const table = new NodeTable();
  const offer = {
    id: 'a',
    labels: {},
    closed: null as string | null,
    cordoned: false,
    features: [],
    capacity: { cpuMillis: 1_000, memoryBytes: 1_000 },
    allocated: { cpuMillis: 500, memoryBytes: 0 },
    cpuPercent: 0,
    unseenCpuMillis: 0,
    instanceCount: 1,
  };
  const hasRoom = (change: Partial<typeof offer>): boolean => {
    const before = table.roomVersion;
    table.put({ ...offer, ...change });
    return table.roomVersion > before;
  };
  expect(hasRoom({})).toBe(true);
  expect(hasRoom({ cpuPercent: 50 })).toBe(false);
  expect(hasRoom({ allocated: { cpuMillis: 700, memoryBytes: 0 } })).toBe(false);
  expect(hasRoom({ allocated: { cpuMillis: 600, memoryBytes: 0 } })).toBe(true);
  expect(hasRoom({ closed: 'is lost' })).toBe(false);
  expect(hasRoom({})).toBe(true);
});

it('knows by its bitmaps who satisfies constraints', () => {
  fc.assert(
    fc.property(
      fc.array(labels, { minLength: 1, maxLength: 80 }),
      fc.array(labels, { maxLength: 80 }),
      fc.array(constraint, { maxLength: 3 }),
      (first, later, constraints) => {
        const index = new LabelIndex();
        for (const [row, own] of first.entries()) index.set(row, own);
        for (const [row, own] of later.entries()) if (row < first.length) index.set(row, own);
        const rows = new Uint32Array(3).fill(~0);
        index.narrow(rows, constraints);
        for (const row of first.keys()) {
          const own = later[row] ?? first[row]!;
          const expected = constraints.every((one) => satisfies(own as Record<string, string>, one));
          expect((rows[row >>> 5]! & (1 << (row & 31))) !== 0).toBe(expected);
        }
      },
    ),
  );
});
