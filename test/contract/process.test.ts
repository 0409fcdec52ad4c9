/** The process fields of a spec: what is taken, what of it is passed on, which features of a node it needs. */
import { startInstanceSchema } from '../../contract/agentApi';
import { FEATURES, type Feature, lackInWords, missingFeatures } from '../../contract/features';
import {
  exitSchema,
  pickProcess,
  processFields,
  specWithDefaults,
  type WorkloadInput,
  withProcessDefaults,
  workloadInputSchema,
  workloadSpecSchema,
} from '../../contract/workload';

const FULL = {
  command: ['serve'],
  args: ['-v'],
  env: { A: '1' },
  cwd: '/srv',
  maxRunMs: 1_000,
  user: 'www-data',
  limits: {
    cpuMillis: 500,
    memoryBytes: 2 ** 26,
    pids: 64,
    openFiles: 1_024,
    coreBytes: 2 ** 20,
    fileBytes: 2 ** 30,
  },
  nice: 5,
  umask: '027',
  logs: { maxBytes: 2 ** 20, files: 3 },
  onDisconnect: 'stop',
  secrets: [
    { name: 'db.password', env: 'DB_PASSWORD' },
    { name: 'tls.key', file: 'server.key' },
  ],
} satisfies WorkloadInput;

const accepts = (field: object) => workloadInputSchema.safeParse({ command: ['serve'], ...field }).success;

describe('the process fields', () => {
  it('reach the stored spec and the start command, every one of them', () => {
    const spec = specWithDefaults(workloadInputSchema.parse({ id: 'web', replicas: 2, ...FULL }), 'web');
    expect(workloadSpecSchema.parse(spec)).toMatchObject(FULL);
    expect(pickProcess(spec)).toEqual(FULL);
    expect(startInstanceSchema.parse({ ...pickProcess(spec), restart: spec.restart, stop: spec.stop })).toMatchObject(
      FULL,
    );
    const { command: _, ...withScript } = { ...FULL, script: '/opt/web.sh' };
    expect(Object.keys({ ...FULL, ...withScript }).sort()).toEqual(Object.keys(processFields).sort());
  });

  it('that are not given are not there', () => {
    const spec = specWithDefaults(workloadInputSchema.parse({ command: ['serve'] }), 'web');
    expect(Object.keys(pickProcess({ ...spec, user: undefined }))).toEqual(['command']);
    expect(withProcessDefaults(spec)).toMatchObject({
      nice: 0,
      umask: '022',
      limits: { coreBytes: 0 },
      logs: { maxBytes: 10 * 2 ** 20, files: 10 },
      onDisconnect: 'replace',
    });
    expect(withProcessDefaults({ ...FULL })).toEqual(FULL);
  });

  it('take a user that may be one', () => {
    const good = ['root', '_apt', 'www-data', 'machine$', '0', '65534', '4294967294', 'a'.repeat(32)];
    const bad = ['', 'Root', '-x', '9x', 'a b', 'a.b', 'a:b', 'a$b', '-1', '4294967295', 'a'.repeat(33), 'é', 0];
    for (const user of good) expect([user, accepts({ user })]).toEqual([user, true]);
    for (const user of bad) expect([user, accepts({ user })]).toEqual([user, false]);
  });

  it('take limits within what the kernel knows', () => {
    const good = [{}, FULL.limits, { cpuMillis: 10 }, { memoryBytes: 2 ** 20 }, { pids: 4_194_304 }, { coreBytes: 0 }];
    const bad = [
      { cpuMillis: 0 },
      { memoryBytes: 1.5e6 + 0.5 },
      { pids: 4_194_305 },
      { swapBytes: 1 },
      { pids: null },
      [],
    ];
    for (const limits of good) expect([limits, accepts({ limits })]).toEqual([limits, true]);
    for (const limits of bad) expect([limits, accepts({ limits })]).toEqual([limits, false]);
  });

  it('take nice values and umasks as the kernel does', () => {
    for (const nice of [-20, 0, 19]) expect([nice, accepts({ nice })]).toEqual([nice, true]);
    for (const nice of [-21, 20, 0.5, '5']) expect([nice, accepts({ nice })]).toEqual([nice, false]);
    for (const umask of ['000', '022', '0022', '777']) expect([umask, accepts({ umask })]).toEqual([umask, true]);
    for (const umask of ['22', '1022', '028', '', 18, 'u=rwx'])
      expect([umask, accepts({ umask })]).toEqual([umask, false]);
  });
});

describe('the features of a node', () => {
  it.each<[string, Pick<WorkloadInput, 'user' | 'limits' | 'secrets'>, Feature[]]>([
    ['a secret', { secrets: [{ name: 'a', env: 'A' }] }, ['secrets']],
    ['no secret', { secrets: [] }, []],
    ['nothing', {}, []],
    ['a memory limit', { limits: { memoryBytes: 2 ** 26 } }, ['limits.memory']],
    ['every hard limit, a user and secrets', FULL, ['limits.cpu', 'limits.memory', 'limits.pids', 'user', 'secrets']],
    ['what any node holds', { limits: { openFiles: 64, coreBytes: 0, fileBytes: 1 } }, []],
  ])('are needed by %s as the table says', (_name, spec, needed) => {
    expect(missingFeatures(spec, [])).toEqual(needed);
    expect(missingFeatures(spec, Object.keys(FEATURES))).toEqual([]);
    expect(missingFeatures(spec, ['limits.cpu', 'of a later version'])).toEqual(
      needed.filter((f) => f !== 'limits.cpu'),
    );
  });

  it('that are lacking are named with the reason', () => {
    expect(lackInWords(['limits.pids', 'user'])).toBe(
      'limits.pids (no cgroup v2 pids controller), user (its agent allows no user to be named, see --allow-user and --allow-root)',
    );
  });
});

it('an exit recorded by an earlier version was not known to be for lack of memory', () => {
  const exit = { code: 1, signal: null, at: '2026-01-01T00:00:00.000Z' };
  expect(exitSchema.parse(exit)).toEqual({ ...exit, oomKilled: false });
});
