import { specOf } from '../../cli/commands/submit';
import { workloadInputSchema } from '../../contract/workload';

describe('the spec that the flags of submit stand for', () => {
  test('is a script made absolute, and no more than was said', () => {
    expect(specOf('jobs/a.sh', [], {}, '/home/me')).toEqual({ script: '/home/me/jobs/a.sh' });
    expect(specOf('/opt/a.sh', ['x', '-v'], {}, '/home/me')).toEqual({ script: '/opt/a.sh', args: ['x', '-v'] });
  });

  test('is a command as it was typed', () => {
    expect(specOf('sleep', ['60'], { command: true }, '/home/me')).toEqual({ command: ['sleep', '60'] });
  });

  test('holds every flag, in the shape of the contract', () => {
    const spec = specOf(
      'web.sh',
      [],
      {
        name: 'web',
        kind: 'service',
        replicas: 3,
        env: [['A', '1']],
        secretEnv: [['DB_PASSWORD', 'db.password']],
        secretFile: [['server.key', 'tls.key']],
        label: [['app', 'web']],
        cwd: 'data',
        cpu: 250,
        constraint: [{ label: 'zone', op: 'exists' }],
        attempts: 5,
        grace: 1_000,
        maxRun: 60_000,
        user: 'www-data',
        limitCpu: 500,
        limitMemory: 2 ** 29,
        limitPids: 64,
        limitOpenFiles: 1_024,
        nice: -5,
        umask: '027',
        onDisconnect: 'stop',
        logMaxBytes: 2 ** 20,
      },
      '/srv',
    );
    expect(spec).toEqual({
      id: 'web',
      kind: 'service',
      script: '/srv/web.sh',
      replicas: 3,
      env: { A: '1' },
      secrets: [
        { name: 'db.password', env: 'DB_PASSWORD' },
        { name: 'tls.key', file: 'server.key' },
      ],
      labels: { app: 'web' },
      cwd: '/srv/data',
      resources: { cpuMillis: 250, memoryBytes: 0 },
      placement: { strategy: 'spread', constraints: [{ label: 'zone', op: 'exists' }] },
      restart: { attempts: 5 },
      stop: { graceMs: 1_000 },
      maxRunMs: 60_000,
      user: 'www-data',
      limits: { cpuMillis: 500, memoryBytes: 2 ** 29, pids: 64, openFiles: 1_024 },
      nice: -5,
      umask: '027',
      onDisconnect: 'stop',
      logs: { maxBytes: 2 ** 20 },
    });
    expect(workloadInputSchema.safeParse(spec).success).toBe(true);
  });
});
