/** Which events are about which workload, however many have been pruned. */
import fc from 'fast-check';
import { WorkloadHistory } from '../../../scheduler/events/history';

const eventOf = (seq: number, uid: string | null) => ({ seq, data: uid === null ? {} : { uid } });
/** As it stands in the store; of some the uid stands elsewhere. */
const textOf = (seq: number, uid: string | null) => {
  const reason = '"data":{"uid":"a"}';
  const data = uid === null ? { reason } : seq % 3 === 0 ? { reason, uid } : { uid, reason };
  return JSON.stringify({ seq, at: '2026-01-01T00:00:00.000Z', type: 'instance.started', workload: 'web', data });
};

it('tells of a workload what a look at all kept events would', () => {
  const act = fc.oneof(
    { weight: 9, arbitrary: fc.record({ told: fc.constantFrom('a', 'b', 'c', null) }) },
    { weight: 1, arbitrary: fc.record({ pruned: fc.nat(50) }) },
  );
  fc.assert(
    fc.property(
      fc.array(act, { maxLength: 300 }),
      fc.nat(300),
      fc.integer({ min: 1, max: 20 }),
      (acts, after, limit) => {
        const history = new WorkloadHistory();
        const kept: { seq: number; uid: string | null }[] = [];
        let [lastSeq, firstSeq] = [0, 1];
        for (const one of acts) {
          if ('told' in one) {
            lastSeq += 1;
            kept.push({ seq: lastSeq, uid: one.told });
            if (lastSeq % 2 === 0) history.add(eventOf(lastSeq, one.told));
            else history.addText(lastSeq, `before${textOf(lastSeq, one.told)}`, 'before'.length);
          } else {
            firstSeq = Math.min(firstSeq + one.pruned, lastSeq + 1);
            history.prune(firstSeq);
          }
        }
        const of = (uid: string) =>
          kept.filter((event) => event.uid === uid && event.seq >= firstSeq).map(({ seq }) => seq);
        for (const uid of ['a', 'b', 'c']) {
          expect(history.after(uid, after, limit)).toEqual(
            of(uid)
              .filter((seq) => seq > after)
              .slice(0, limit),
          );
        }
      },
    ),
  );
});
