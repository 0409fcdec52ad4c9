import { setImmediate as turn } from 'node:timers/promises';
import { EventLog } from '../../../scheduler/events/feed';
import { pruneOps } from '../../../scheduler/events/prune';
import { keys } from '../../../scheduler/store/keys';
import { openMemoryStore } from '../../../scheduler/store/memory';
import { eventOf, publish, sequence } from './events';

function newLog(at = { firstSeq: 1, lastSeq: 0 }) {
  const store = openMemoryStore();
  return { store, log: new EventLog(store, at) };
}

/** The seqs that following gives, until `last` has come. */
async function seqsUntil(log: EventLog, since: number, last: number, onEvent?: (seq: number) => Promise<void>) {
  const seqs: number[] = [];
  const stop = new AbortController();
  for await (const event of log.follow(since, stop.signal)) {
    seqs.push(event.seq);
    await onEvent?.(event.seq);
    if (event.seq === last) stop.abort();
  }
  return seqs;
}

describe('an event log', () => {
  it('gives old events, then new ones, in order and without a gap', async () => {
    const { store, log } = newLog();
    await publish(store, log, 700);
    const following = seqsUntil(log, 0, 1_000);
    const since = seqsUntil(log, 650, 1_000);
    for (let i = 0; i < 30; i++) await publish(store, log, 10);
    expect(await following).toEqual(sequence(1, 1_000));
    expect(await since).toEqual(sequence(651, 1_000));
  });

  it('gives the same to a follower however slowly it reads, also when memory no longer has it', async () => {
    const { store, log } = newLog();
    const seqs = seqsUntil(log, 0, 9_000, async (seq) => {
      // Far more comes between two events than is kept in memory.
      if (seq % 1_000 === 1 && log.lastSeq < 9_000) await publish(store, log, 3_000);
    });
    await publish(store, log, 1);
    await publish(store, log, 9_000 - 1 - 6_000);
    expect(await seqs).toEqual(sequence(1, 9_000));
  });

  it('reads what it has in memory from there', async () => {
    const { store, log } = newLog();
    const range = jest.spyOn(store, 'range');
    await publish(store, log, 500);
    expect(await seqsUntil(log, 0, 500)).toHaveLength(500);
    expect(range).not.toHaveBeenCalled();
  });

  it('goes on after a restart where the store ends', async () => {
    const { store, log } = newLog();
    await publish(store, log, 300);
    const again = new EventLog(store, { firstSeq: 1, lastSeq: 300 });
    const following = seqsUntil(again, 0, 310);
    await publish(store, again, 10);
    expect(await following).toEqual(sequence(1, 310));
  });

  it('ends for a follower that leaves, whether it waits or not', async () => {
    const { store, log } = newLog();
    await publish(store, log, 1);
    const stop = new AbortController();
    const seqs: number[] = [];
    const following = (async () => {
      for await (const event of log.follow(0, stop.signal)) seqs.push(event.seq);
    })();
    await turn();
    stop.abort();
    await following;
    expect(seqs).toEqual([1]);
  });

  it('refuses positions that are gone or not there yet, but not 0', async () => {
    const { store, log } = newLog({ firstSeq: 101, lastSeq: 100 });
    await publish(store, log, 10);
    const first = (since: number) => log.follow(since, new AbortController().signal).next();
    await expect(first(99)).rejects.toMatchObject({ code: 'EVENTS_GONE' });
    await expect(first(111)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    expect((await first(100)).value).toMatchObject({ seq: 101 });
    expect((await first(0)).value).toMatchObject({ seq: 101 });
  });

  it('tells a follower that was overtaken by the pruning', async () => {
    const { store, log } = newLog();
    await publish(store, log, 5_000);
    const follower = log.follow(0, new AbortController().signal);
    // What has been read ahead is still given.
    await follower.next();
    await store.write(sequence(1, 3_000).map((seq) => ({ type: 'del', key: keys.event(seq) })));
    log.pruned(3_001);
    await expect(
      (async () => {
        for await (const event of follower) expect(event.seq).toBeLessThan(300);
      })(),
    ).rejects.toMatchObject({ code: 'EVENTS_GONE' });
  });

  it('takes events in sequence only', () => {
    const { log } = newLog();
    log.publish([eventOf(1)]);
    expect(() => log.publish([eventOf(3)])).toThrow(/no gaps/);
  });
});

describe('pruning', () => {
  it('brings the log down to its size in steps', async () => {
    const { store, log } = newLog();
    await publish(store, log, 3_500);
    let firstSeq = 1;
    const steps: number[] = [];
    for (;;) {
      const pruned = pruneOps(firstSeq, log.lastSeq, 1_000);
      if (pruned.ops.length === 0) break;
      expect(pruned.ops.length).toBeLessThanOrEqual(1_000);
      await store.write(pruned.ops);
      firstSeq = pruned.firstSeq;
      steps.push(firstSeq);
    }
    expect(steps).toEqual([1_001, 2_001, 2_501]);
    let events = 0;
    for await (const _ of store.range('event/')) events += 1;
    expect(events).toBe(1_000);
  });

  it('has nothing to do while the log is short', () => {
    expect(pruneOps(1, 10)).toEqual({ ops: [], firstSeq: 1 });
  });
});
