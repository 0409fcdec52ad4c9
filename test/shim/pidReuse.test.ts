import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { encodePlan } from '../../agent/shim/plan';
import { isEmulated, isRoot, SHIM_COMMAND, useShims } from './shim';

const shims = useShims();

/**
 * In a pid namespace of its own, where the next pid can be chosen: lets the main process end, gives its pid to a
 * stranger who leads a group and a session as it did, then has the shim kill what is left. Prints what became of each.
 */
const SCENE = `
  cd "$1"
  setsid "$2" dir key nonce 3< plan < /dev/null > /dev/null 2>&1 &
  shim=$!
  until [ -e run.1.ended ]; do sleep 0.02; done
  while read -r kind nonce shimPid ticks pid rest; do
    [ "$kind" = started ] && main=$pid
  done < run.1.ended
  left=$(cat left)
  echo $((main - 1)) > /proc/sys/kernel/ns_last_pid
  setsid sleep 1000 &
  stranger=$!
  [ "$stranger" = "$main" ] && echo "the stranger has the pid"
  /bin/kill -s TERM -q 0 "$shim"
  wait "$shim"
  echo "the shim left with $?"
  kill -0 "$left" 2> /dev/null || echo "the tree is gone"
  kill -0 "$stranger" && echo "the stranger lives"
  kill -9 "$stranger"
`;

const canMakeNamespaces = isRoot && !isEmulated && spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0;

describe('a pid that is used again', () => {
  const name = 'is not signalled as what it was';
  const why = ' (skipped: takes root and pid namespaces)';

  (canMakeNamespaces ? test : test.skip)(canMakeNamespaces ? name : `${name}${why}`, () => {
    const { directory } = shims;
    const commands = 'trap "" TERM; setsid sleep 1000 & echo $! > left; exit 0';
    const plan = {
      ...shims.planOf(['sh', '-c', commands], directory),
      cwd: directory,
      stop: { signal: 'SIGTERM' as const, graceMs: 60_000 },
    };
    writeFileSync(join(directory, 'plan'), encodePlan(plan, { notices: shims.fifo, lease: '/none' }));
    const scene = ['sh', '-c', SCENE, 'sh', directory, SHIM_COMMAND[0]!];
    const { stdout, stderr } = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', '--kill-child', ...scene], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect(stderr).toBe('');
    expect(stdout.trim().split('\n')).toEqual([
      'the stranger has the pid',
      'the shim left with 0',
      'the tree is gone',
      'the stranger lives',
    ]);
  });
});
