import fc from 'fast-check';
import {
  type Candidate,
  choosePlacement,
  explainRejections,
  type PlacementRequest,
} from '../../../scheduler/core/placement';

const node = (id: string, more: Partial<Candidate> = {}): Candidate => ({
  id,
  labels: {},
  closed: null,
  cordoned: false,
  features: [],
  capacity: { cpuMillis: 4_000, memoryBytes: 8 * 2 ** 30 },
  allocated: { cpuMillis: 0, memoryBytes: 0 },
  cpuPercent: null,
  unseenCpuMillis: 0,
  instanceCount: 0,
  workloadInstanceCount: 0,
  ...more,
});
const request = (more: Partial<PlacementRequest> = {}): PlacementRequest => ({
  resources: { cpuMillis: 1_000, memoryBytes: 2 ** 30 },
  rules: { strategy: 'spread', constraints: [] },
  features: [],
  ...more,
});
const constrained = (...constraints: PlacementRequest['rules']['constraints']) =>
  request({ rules: { strategy: 'spread', constraints } });
const chosen = (r: PlacementRequest, nodes: Candidate[]) => {
  const placement = choosePlacement(r, nodes);
  return placement.kind === 'placed' ? placement.nodeId : placement.rejections.map((x) => `${x.nodeId}:${x.reason}`);
};

describe('placement', () => {
  it.each<[string, PlacementRequest, Candidate[], string | string[]]>([
    ['takes the lowest id among equals', request(), [node('b'), node('a')], 'a'],
    [
      'spreads instances of a workload first',
      request(),
      [node('a', { workloadInstanceCount: 1 }), node('b', { cpuPercent: 90 })],
      'b',
    ],
    [
      'then takes the least CPU in steps of 10 points',
      request(),
      [node('a', { cpuPercent: 25 }), node('b', { cpuPercent: 11 })],
      'b',
    ],
    [
      'sees no difference within a step',
      request(),
      [node('b', { cpuPercent: 11 }), node('a', { cpuPercent: 19 })],
      'a',
    ],
    [
      'counts what is reserved when that is more than measured',
      request(),
      [node('a', { allocated: { cpuMillis: 2_000, memoryBytes: 0 } }), node('b', { cpuPercent: 30 })],
      'b',
    ],
    [
      'counts placements that the measurement does not show yet',
      request(),
      [node('a', { cpuPercent: 0, unseenCpuMillis: 1_000 }), node('b', { cpuPercent: 11 })],
      'b',
    ],
    [
      'then takes the fewest instances',
      request(),
      [node('a', { instanceCount: 2 }), node('b', { instanceCount: 1 })],
      'b',
    ],
    [
      'fills what is exactly free',
      request({ resources: { cpuMillis: 4_000, memoryBytes: 8 * 2 ** 30 } }),
      [node('a')],
      'a',
    ],
    ['never takes a closed node', request(), [node('a', { closed: 'is cordoned' })], ['a:closed']],
    [
      'never takes more CPU than is free',
      request(),
      [node('a', { allocated: { cpuMillis: 3_001, memoryBytes: 0 } })],
      ['a:cpu'],
    ],
    [
      'never takes more memory than is free',
      request(),
      [node('a', { allocated: { cpuMillis: 0, memoryBytes: 8 * 2 ** 30 } })],
      ['a:memory'],
    ],
    [
      'needs nothing free for a workload that reserves nothing',
      request({ resources: { cpuMillis: 0, memoryBytes: 0 } }),
      [node('a', { allocated: { cpuMillis: 9_000, memoryBytes: 2 ** 40 } })],
      'a',
    ],
    [
      'binpack takes the fullest that fits',
      request({ rules: { strategy: 'binpack', constraints: [] } }),
      [
        node('a'),
        node('b', { allocated: { cpuMillis: 3_000, memoryBytes: 0 } }),
        node('c', { allocated: { cpuMillis: 3_500, memoryBytes: 0 } }),
      ],
      'b',
    ],
    [
      'takes a node that was not tried yet',
      request({ triedNodes: ['a'] }),
      [node('a'), node('b', { cpuPercent: 99 })],
      'b',
    ],
    [
      'goes back to a tried one when no other fits',
      request({ triedNodes: ['a'] }),
      [node('a'), node('b', { closed: 'is lost' })],
      'a',
    ],
    [
      'takes the preferred node if it fits',
      request({ preferredNode: 'b' }),
      [node('a'), node('b', { cpuPercent: 80 })],
      'b',
    ],
    [
      'leaves the preferred node if it does not',
      request({ preferredNode: 'b' }),
      [node('a'), node('b', { closed: 'is lost' })],
      'a',
    ],
    ['passes a cordoned node over', request(), [node('a', { cordoned: true }), node('b', { cpuPercent: 90 })], 'b'],
    [
      'goes back to a cordoned node where it was',
      request({ preferredNode: 'a' }),
      [node('a', { cordoned: true }), node('b')],
      'a',
    ],
    [
      'takes a node only if it has every feature that is needed',
      request({ features: ['limits.memory', 'user'] }),
      [
        node('a', { features: ['user'] }),
        node('b', { features: ['user', 'limits.memory'], cpuPercent: 90 }),
        node('c'),
      ],
      'b',
    ],
    [
      'never takes a node that lacks a feature, though it is preferred',
      request({ features: ['limits.cpu'], preferredNode: 'a' }),
      [node('a', { features: ['limits.pids'] })],
      ['a:feature'],
    ],
    [
      'looks at one node only for a daemon',
      request({ onlyNode: 'b' }),
      [node('a'), node('b', { closed: 'is lost' })],
      ['b:closed'],
    ],
    ['leaves out the node being drained', request({ excludedNode: 'a' }), [node('a')], []],
    [
      'in',
      constrained({ label: 'zone', op: 'in', values: ['x', 'y'] }),
      [node('a'), node('b', { labels: { zone: 'y' } })],
      'b',
    ],
    [
      'notIn holds where the label is absent',
      constrained({ label: 'zone', op: 'notIn', values: ['x'] }),
      [node('a'), node('b', { labels: { zone: 'x' } })],
      'a',
    ],
    ['exists', constrained({ label: 'gpu', op: 'exists' }), [node('a'), node('b', { labels: { gpu: '' } })], 'b'],
    ['absent', constrained({ label: 'gpu', op: 'absent' }), [node('a', { labels: { gpu: '' } }), node('b')], 'b'],
    [
      'a label named like a property of every object is not there',
      constrained({ label: 'constructor', op: 'exists' }),
      [node('a')],
      ['a:constraint'],
    ],
  ])('%s', (_name, r, nodes, expected) => {
    expect(chosen(r, nodes)).toEqual(expected);
  });

  it('never overcommits, whatever is asked in whatever order', () => {
    const amounts = fc.record({
      cpuMillis: fc.integer({ min: 0, max: 3_000 }),
      memoryBytes: fc.integer({ min: 0, max: 5 * 2 ** 30 }),
    });
    fc.assert(
      fc.property(
        fc.array(amounts, { maxLength: 60 }),
        fc.constantFrom('spread' as const, 'binpack' as const),
        (asks, strategy) => {
          const nodes = ['a', 'b', 'c'].map((id) => node(id));
          for (const resources of asks) {
            const placement = choosePlacement(request({ resources, rules: { strategy, constraints: [] } }), nodes);
            if (placement.kind === 'unplaceable') continue;
            const taken = nodes.find((n) => n.id === placement.nodeId)!;
            taken.allocated.cpuMillis += resources.cpuMillis;
            taken.allocated.memoryBytes += resources.memoryBytes;
          }
          for (const n of nodes) {
            expect(n.allocated.cpuMillis).toBeLessThanOrEqual(n.capacity.cpuMillis);
            expect(n.allocated.memoryBytes).toBeLessThanOrEqual(n.capacity.memoryBytes);
          }
        },
      ),
    );
  });

  it('explains in one sentence', () => {
    const rejections = ['a', 'b', 'c', 'd', 'e'].map((nodeId) => ({
      nodeId,
      reason: 'cpu' as const,
      detail: 'short of 500m cpu',
    }));
    expect(explainRejections(rejections)).toBe('no node fits (5 nodes: short of 500m cpu)');
    expect(explainRejections([])).toBe('no node has joined yet');
    const asked = request({ features: ['limits.memory', 'user'] });
    const placement = choosePlacement(asked, [node('a'), node('b', { features: ['user'] })]);
    expect(placement.kind === 'unplaceable' && explainRejections(placement.rejections)).toBe(
      'no node fits (a: lacks limits.memory (no cgroup v2 memory controller), user (its agent allows no user to be named, see --allow-user and --allow-root); b: lacks limits.memory (no cgroup v2 memory controller))',
    );
  });
});
