/** Instances as they stand in the store: nothing is lost, and what earlier versions wrote is read. */
import fc from 'fast-check';
import type { InstanceRecord, WorkloadRecord } from '../../scheduler/core/model';
import { newInstance } from '../../scheduler/reconcile';
import { keys } from '../../scheduler/store/keys';
import { instanceOf, storedInstance } from '../../scheduler/storedInstance';

const WORKLOAD = {
  uid: 'u1',
  spec: { id: 'web', resources: { cpuMillis: 100, memoryBytes: 64 } },
  revision: 3,
  generationFloor: 0,
} as WorkloadRecord;
const KEY = keys.instance('u1', '7');
const FRESH = newInstance(WORKLOAD, '7');

const throughStore = (instance: InstanceRecord) =>
  instanceOf(KEY, JSON.parse(JSON.stringify(storedInstance(instance))), WORKLOAD);

it('comes back with every field as it was, from this layout and those before', () => {
  const text = fc.constantFrom(null, 'n1', 'n2');
  const number = fc.constantFrom(null, 7);
  const amounts = fc.constantFrom(
    { cpuMillis: 0, memoryBytes: 0 },
    { cpuMillis: 100, memoryBytes: 64 },
    { cpuMillis: 1, memoryBytes: 0 },
  );
  const placement = fc.record({ generation: fc.nat(3), node: fc.constantFrom('n1', 'n2') });
  const changes: fc.Arbitrary<Partial<InstanceRecord>> = fc.record({
    generation: fc.nat(3),
    run: fc.nat(2),
    rev: fc.integer({ min: -1, max: 9 }),
    revision: fc.nat(4),
    status: fc.constantFrom('pending', 'running', 'failed'),
    statusReason: text,
    node: text,
    lingersOn: text,
    onDisconnect: fc.constantFrom('replace', 'stop', 'keep'),
    fenced: fc.boolean(),
    pid: number,
    shimPid: number,
    startedAt: fc.constantFrom(null, '2026-01-02T03:04:05.678Z'),
    exit: fc.constantFrom(null, { code: 1, signal: null, at: '2026-01-02T03:04:05.678Z', oomKilled: true }),
    attempts: fc.nat(2),
    reserved: amounts,
    replacing: fc.constantFrom(null, 'revision', 'drain'),
    surplus: fc.boolean(),
    retryAtMs: fc.nat(2),
    triedNodes: fc.array(fc.constantFrom('n1', 'n2'), { maxLength: 2 }),
    preferredNode: text,
    placements: fc.array(placement, { maxLength: 2 }),
  });
  fc.assert(
    fc.property(changes, (change) => {
      const instance = { ...FRESH, ...change };
      expect(throughStore(instance)).toEqual(instance);
      // Layout 3 has names, and leaves out what is as usual; layout 2 has all.
      const named = JSON.parse(JSON.stringify(instance)) as Record<string, unknown>;
      expect(instanceOf(KEY, named, WORKLOAD)).toEqual(instance);
      for (const [name, value] of Object.entries(named)) if (value === null || value === false) delete named[name];
      expect(instanceOf(KEY, named, WORKLOAD)).toEqual(instance);
    }),
  );
});

it('reads what layout 2 has of one, and gives what earlier versions did not know', () => {
  const { shimPid: _shimPid, onDisconnect: _onDisconnect, fenced: _fenced, ...earlier } = FRESH;
  const exit = { code: 0, signal: null, at: '2026-01-02T03:04:05.678Z' } as InstanceRecord['exit'];
  const read = instanceOf(KEY, { ...earlier, exit, id: 'web.7' }, WORKLOAD);
  expect(read).toEqual({ ...FRESH, exit: { ...exit, oomKilled: false } });
});
