/** The short form of the fault suite: each of its scenarios once, with a seed of its own. `npm run test:faults` runs all of it. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const RUN = join(__dirname, 'run.cjs');
const EXIT_SKIPPED = 77;
const TIMEOUT_MS = 120_000;

function run(...args: string[]): { code: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, '--short', ...args], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGTERM',
  });
  return { code: status, output: stdout + stderr };
}

const list = run('--list');
const scenarios = list.output
  .trim()
  .split('\n')
  .map((line) => line.split(/[ *]+/)) // name, then what it says
  .map(([name, ...says]) => ({ name: name!, says: says.join(' ') }));

if (list.code === EXIT_SKIPPED) test.skip(`faults (${list.output.trim()})`, () => {});
else {
  test.each(scenarios)(
    '$says ($name)',
    ({ name }) => {
      const { code, output } = run('--scenario', name);
      if (code !== 0) throw new Error(output);
    },
    TIMEOUT_MS,
  );
}
