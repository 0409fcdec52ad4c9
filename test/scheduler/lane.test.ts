import { holdUp, Lane, ownTurn } from '../../scheduler/lane';
import { until } from '../support/until';

/** Takes longer than all lanes have in a turn. */
function dawdle(): void {
  const endsAtMs = performance.now() + 12;
  while (performance.now() < endsAtMs);
}

/** A turn with nothing left of an earlier test. */
async function freshTurn(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

beforeEach(freshTurn);

it('does at once what there is time for, and the rest in later turns, in its order', async () => {
  const lane = new Lane('common');
  const done: number[] = [];
  for (const n of [1, 2, 3]) {
    lane.put(() => {
      dawdle();
      done.push(n);
    });
  }
  expect(done).toEqual([1]);
  const perTurn: number[] = [];
  const count = (): void => {
    perTurn.push(done.length);
    if (done.length < 3) setImmediate(count);
  };
  setImmediate(count);
  await until(() => done.length === 3, { what: 'all is done' });
  expect(done).toEqual([1, 2, 3]);
  expect(perTurn).toContain(2);
});

it('takes lanes in turn: one that has much to do holds up no other', async () => {
  const [busy, other] = [new Lane('common'), new Lane('common')];
  const done: string[] = [];
  for (const n of [1, 2, 3, 4]) {
    busy.later(() => {
      dawdle();
      done.push(`busy ${n}`);
    });
  }
  other.later(() => done.push('other'));
  await until(() => done.length === 5, { what: 'all is done' });
  expect(done).toEqual(['busy 1', 'other', 'busy 2', 'busy 3', 'busy 4']);
});

it('leaves to another turn what is put off by what it does', async () => {
  const lane = new Lane('links');
  const turns: string[] = [];
  lane.later(() => {
    process.nextTick(() => turns.push('end of the turn'));
    lane.later(() => turns.push('later'));
  });
  await until(() => turns.length === 2, { what: 'both are done' });
  expect(turns).toEqual(['end of the turn', 'later']);
});

it('goes on after work that fails', async () => {
  const lane = new Lane('common');
  dawdle();
  expect(() =>
    lane.put(() => {
      dawdle();
      throw new Error('no');
    }),
  ).toThrow('no');
  const done: number[] = [];
  lane.put(() => done.push(1));
  expect(done).toEqual([]);
  await until(() => done.length === 1, { what: 'the next is done' });
});

it('does nothing of a share that is held up, and all of it afterwards, in its order', async () => {
  const [held, other] = [new Lane('common'), new Lane('links')];
  const done: string[] = [];
  let goOn = (): void => {};
  held.later(() => done.push('put off'));
  holdUp('common', new Promise<void>((resolve) => (goOn = resolve)));
  held.put(() => done.push('put'));
  other.put(() => done.push('other'));
  await freshTurn();
  expect(done).toEqual(['other']);
  holdUp('common', Promise.reject(new Error('it was not to be')));
  goOn();
  await until(() => done.length === 3, { what: 'all is done' });
  expect(done).toEqual(['other', 'put off', 'put']);
});

it('gives what takes long a turn in which no lane does anything', async () => {
  const [busy, verdicts] = [new Lane('common'), new Lane('links')];
  const turns: string[][] = [];
  let over = false;
  const nextTurn = (): void => {
    turns.push([]);
    if (!over) setImmediate(nextTurn);
  };
  const log = (what: string): void => void turns.at(-1)!.push(what);
  setImmediate(nextTurn);
  await freshTurn();
  const done = ownTurn().then(() => log('long'));
  for (let n = 0; n < 3; n++) {
    busy.put(() => log('busy'));
    verdicts.put(() => log('verdict'));
  }
  await done;
  await until(() => turns.flat().length === 7, { what: 'all is done' }).finally(() => {
    over = true;
  });
  expect(turns.find((turn) => turn.includes('long'))).toEqual(['long']);
  expect(turns.flat()[0]).toBe('long');
});
