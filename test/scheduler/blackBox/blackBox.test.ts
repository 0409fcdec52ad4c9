/** The black box on a store in memory. What becomes of a real node's instances is in test/system/blackBox.test.ts. */
import { pino } from 'pino';
import type { BlackBoxRecord } from '../../../contract/blackBox';
import { specWithDefaults, workloadInputSchema } from '../../../contract/workload';
import { BlackBox } from '../../../scheduler/blackBox/blackBox';
import type { InstanceRecord, WorkloadRecord } from '../../../scheduler/core/model';
import { Journal } from '../../../scheduler/journal';
import { State } from '../../../scheduler/state';
import { FailingStore } from '../../../scheduler/store/failing';
import { openMemoryStore } from '../../../scheduler/store/memory';
import type { Store } from '../../../scheduler/store/store';
import { until } from '../../support/until';
import { PROOFS } from '../openAccess';

const log = pino({ level: 'silent' });
const AT = '2026-01-02T03:04:05.678Z';
const ALL = { limit: 1_000 };

interface Box {
  state: State;
  journal: Journal;
  blackBox: BlackBox;
}

async function open(store: Store): Promise<Box> {
  const state = await State.load(store, 'cluster', PROOFS);
  const journal: Journal = new Journal(
    store,
    state,
    (events) => blackBox.heardEvents(events),
    log,
    () => undefined,
  );
  const blackBox = await BlackBox.load(store, state, journal, log);
  return { state, journal, blackBox };
}

function addWorkload(state: State, uid: string): WorkloadRecord {
  const workload: WorkloadRecord = {
    uid,
    spec: specWithDefaults(workloadInputSchema.parse({ command: ['true'] }), uid),
    ...{ version: 1, revision: 1, generationFloor: 0, goal: 'run' as const, purge: false, status: 'running' as const },
    ...{ createdAt: AT, updatedAt: AT },
  };
  state.addWorkload(workload);
  return workload;
}

function addInstance(state: State, uid: string, slot: string, more: Partial<InstanceRecord> = {}): InstanceRecord {
  const instance: InstanceRecord = {
    ...{ uid, slot, id: `${uid}.${slot}`, generation: 1, run: 1, rev: 9, revision: 1 },
    ...{ status: 'running' as const, statusReason: null, node: 'n1', lingersOn: null },
    ...{
      onDisconnect: 'replace' as const,
      fenced: false,
      pid: 42,
      shimPid: 41,
      startedAt: AT,
      exit: null,
      attempts: 1,
    },
    ...{ reserved: { cpuMillis: 0, memoryBytes: 0 }, replacing: null, surplus: false, retryAtMs: 0 },
    ...{ triedNodes: [], preferredNode: null, placements: [] },
    ...more,
  };
  state.addInstance(instance);
  return instance;
}

const usageText = (usage: [string, number, number, number][]) => JSON.stringify(usage);
const listed = async ({ blackBox }: Box, uid: string, slot?: string): Promise<BlackBoxRecord[]> =>
  (await blackBox.list(uid, slot, ALL)).records;

let store: FailingStore;
let box: Box;
beforeEach(async () => {
  store = new FailingStore(openMemoryStore());
  box = await open(store);
});
afterEach(() => box.blackBox.close());

describe('a record', () => {
  it('holds the last lines of that generation, and the last six measurements of it', async () => {
    const { state, blackBox } = box;
    addWorkload(state, 'web');
    const instance = addInstance(state, 'web', '0', { generation: 2 });
    blackBox.heardTails('n2', { type: 'tails', instances: [['web', '0', 2, 8, 'of another node\n', '']] });
    blackBox.heardTails('n1', {
      type: 'tails',
      instances: [
        ['web', '0', 2, 1, 'first\n', ''],
        ['web', '0', 1, 7, 'of another\n', ''],
        ['web', '0', 2, 3, 'last\n', 'err\n'],
        ['web', '9', 1, 1, 'of nobody\n', ''],
      ],
    });
    for (let i = 1; i <= 8; i += 1)
      blackBox.heardUsage(
        'n1',
        usageText([
          ['web.0', 2, i, 1_000 * i],
          ['web.0', 1, 99, 99],
        ]),
      );
    blackBox.heardUsage('n2', usageText([['web.0', 2, 77, 77]]));
    blackBox.lost('n1', [instance], 'because');
    // What is heard or changed later is no part of it.
    blackBox.heardUsage('n1', usageText([['web.0', 2, 9, 9_000]]));
    state.updateInstance(instance, { status: 'recovering', pid: null, node: null });
    expect(await listed(box, 'web')).toEqual([
      {
        ...{ instance: 'web.0', generation: 2, run: 3, node: 'n1', lostAt: expect.any(String), reason: 'because' },
        ...{ pid: 42, startedAt: AT, exit: null, attempts: 1 },
        usage: [3, 4, 5, 6, 7, 8].map((i) => ({ at: expect.any(String), cpuPercent: i, memoryBytes: 1_000 * i })),
        lastLines: { stdout: 'last\n', stderr: 'err\n' },
        reportedAt: expect.any(String),
      },
    ]);
  });

  it('is there also of an instance of which nothing was ever told', async () => {
    addWorkload(box.state, 'web');
    const instance = addInstance(box.state, 'web', '0', { run: 0, rev: -1, pid: null, startedAt: null });
    box.blackBox.lost('n1', [instance], 'because');
    expect(await listed(box, 'web')).toMatchObject([
      { pid: null, usage: [], reportedAt: null, lastLines: { stdout: '' } },
    ]);
  });

  it('is replaced when the same generation is lost again', async () => {
    addWorkload(box.state, 'web');
    const instance = addInstance(box.state, 'web', '0');
    box.blackBox.lost('n1', [instance], 'first');
    await box.blackBox.flush();
    box.blackBox.lost('n1', [instance], 'again');
    expect((await listed(box, 'web')).map(({ reason }) => reason)).toEqual(['again']);
  });

  it('is written some moments later by itself, and again when the store could not be written', async () => {
    addWorkload(box.state, 'web');
    await box.journal.commit();
    const instance = addInstance(box.state, 'web', '0');
    store.failWrites();
    box.blackBox.lost('n1', [instance], 'because');
    await until(() => box.journal.unwritable !== null, { what: 'the store refuses' });
    store.heal();
    await until(async () => (await store.get('blackbox/web/0/0000000000000001')) !== undefined, {
      what: 'it is stored',
    });
    const again = await open(store);
    expect(await listed(again, 'web')).toMatchObject([{ reason: 'because' }]);
  });
});

describe('records', () => {
  it('are listed newest first, of all instances or one, in pages', async () => {
    addWorkload(box.state, 'web');
    addWorkload(box.state, 'other');
    for (const [slot, generation] of [
      ['0', 1],
      ['1', 1],
      ['0', 2],
    ] as const) {
      box.blackBox.lost('n1', [addInstance(box.state, 'web', slot, { generation })], 'because');
      await box.blackBox.flush();
    }
    box.blackBox.lost('n1', [addInstance(box.state, 'other', '0')], 'because');
    const names = (records: BlackBoxRecord[]) => records.map(({ instance, generation }) => `${instance}/${generation}`);
    expect(names(await listed(box, 'web'))).toEqual(['web.0/2', 'web.1/1', 'web.0/1']);
    expect(names(await listed(box, 'web', '0'))).toEqual(['web.0/2', 'web.0/1']);
    const first = await box.blackBox.list('web', undefined, { limit: 2 });
    expect(names(first.records)).toEqual(['web.0/2', 'web.1/1']);
    const second = await box.blackBox.list('web', undefined, { limit: 2, cursor: first.nextCursor! });
    expect([names(second.records), second.nextCursor]).toEqual([['web.0/1'], null]);
  });

  it('are ten of an instance, and 10,000 in all, the latest; in the store as well', async () => {
    const { state, blackBox } = box;
    addWorkload(state, 'web');
    addWorkload(state, 'many');
    const instance = addInstance(state, 'web', '0');
    for (let generation = 1; generation <= 12; generation += 1)
      blackBox.lost('n1', [{ ...instance, generation }], 'because');
    expect((await listed(box, 'web')).map(({ generation }) => generation)).toEqual([12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    const other = addInstance(state, 'many', '0');
    blackBox.lost(
      'n1',
      Array.from({ length: 9_995 }, (_, i) => ({ ...other, slot: String(i) })),
      'because',
    );
    expect((await listed(box, 'web')).map(({ generation }) => generation)).toEqual([12, 11, 10, 9, 8]);
    const stored: string[] = [];
    for await (const [key] of store.range('blackbox')) stored.push(key);
    expect(stored).toHaveLength(2 * 10_000);
  }, 60_000);

  it('go with their workload, also those not written yet, and those of one purged in the last moment', async () => {
    const { state, journal, blackBox } = box;
    const workload = addWorkload(state, 'web');
    addWorkload(state, 'kept');
    blackBox.lost('n1', [addInstance(state, 'web', '0'), addInstance(state, 'kept', '0')], 'because');
    await blackBox.flush();
    blackBox.lost('n1', [{ ...state.instances.get('web/0')!, generation: 2 }], 'because');
    state.removeWorkload(workload);
    state.emit({ type: 'workload.purged', workload: 'web', data: { uid: 'web' } }, AT);
    await journal.commit();
    expect(await listed(box, 'web')).toEqual([]);
    expect(blackBox.has('web', '0')).toBe(false);
    await journal.commit();
    expect(await store.get('blackbox/web/0/0000000000000001')).toBeUndefined();
    expect(await listed(box, 'kept')).toHaveLength(1);

    // The scheduler ended between the purge and this. One that is rebuilding has not heard of all workloads yet.
    state.removeWorkload(state.workloads.get('kept')!);
    state.meta.rebuilding = { reason: 'damaged', since: AT };
    state.saveMeta();
    await journal.commit();
    const rebuilding = await open(store);
    await rebuilding.journal.commit();
    expect(await store.get('blackbox/kept/0/0000000000000001')).toBeDefined();
    state.meta.rebuilding = null;
    state.saveMeta();
    await journal.commit();
    const again = await open(store);
    await again.journal.commit();
    expect(await store.get('blackbox/kept/0/0000000000000001')).toBeUndefined();
  });
});
