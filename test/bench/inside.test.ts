/** That the look inside a part (bench/harness/inside.cjs) tells collections of garbage from the part's own work, also when it lasts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { end } from '../support/cluster';

const { askInside, INSIDE } = require('../../bench/harness/inside.cjs') as {
  askInside<T>(part: { child: ChildProcess }, act: string, what?: object): Promise<T>;
  INSIDE: string;
};

interface Told {
  turnCpuMax: number;
  collectionMax: number;
}

/** A part with much to look through for a collector, which does in a turn what it is told. */
const PART = `
  const kept = Array.from({ length: 1_500_000 }, (_, i) => ({ i }));
  const acts = {
    collect: () => globalThis.gc(),
    work: () => { for (const end = process.cpuUsage().user + 60_000; process.cpuUsage().user < end; ); },
  };
  process.on('message', ({ does }) => {
    if (does === undefined) return;
    acts[does]();
    setTimeout(() => process.send({ done: does }), 5); // when the turn is over
  });
  process.send({ ready: kept.length });
`;

let child: ChildProcess;
beforeEach(async () => {
  const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const;
  const env = { ...process.env, MORCH_PARENT_WATCH: '1' };
  child = spawn(process.execPath, ['--expose-gc', '--require', INSIDE, '-e', PART], { stdio: [...stdio], env });
  await once(child, 'message');
});
afterEach(() => end(child, 'SIGKILL'));

async function haveItDo(does: 'collect' | 'work'): Promise<void> {
  const done = new Promise<void>((resolve) =>
    child.on('message', (message: { done?: string }) => {
      if (message.done === does) resolve();
    }),
  );
  child.send({ does });
  await done;
}

test.each(['before', 'after'] as const)('a collection %s another trace begins is no work of a turn', async (when) => {
  await askInside({ child }, 'watch', { profile: false });
  if (when === 'before') await haveItDo('collect');
  await askInside({ child }, 'renew');
  if (when === 'after') await haveItDo('collect');
  const { collectionMax, turnCpuMax } = await askInside<Told>({ child }, 'told');
  expect(collectionMax).toBeGreaterThan(0);
  expect(turnCpuMax).toBeLessThan(collectionMax / 2);
});

test.each(['before', 'after'] as const)('work %s another trace begins is', async (when) => {
  await askInside({ child }, 'watch', { profile: false });
  if (when === 'before') await haveItDo('work');
  await askInside({ child }, 'renew');
  if (when === 'after') await haveItDo('work');
  const { turnCpuMax } = await askInside<Told>({ child }, 'told');
  expect(turnCpuMax).toBeGreaterThan(30);
});
