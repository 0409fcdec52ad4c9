/** `morch scheduler`: runs the scheduler in this process. */
import { type Command, Option } from 'commander';
import { flag, integer, port } from '../flags';
import { defaultDataDir, demandLoopback, describeDataDir, refuseAddress, runPart } from '../parts';
import { parseDurationMs } from '../quantities';

/** Flag, variable, and the setting of scheduler/options.ts behind it. */
const TIMES = [
  ['--heartbeat', 'HEARTBEAT', 'heartbeatMs', 'agents send heartbeats this often'],
  ['--probe-every', 'PROBE_EVERY', 'sweepMs', 'every node is probed this often'],
  ['--probe-timeout', 'PROBE_TIMEOUT', 'probeTimeoutMs', 'a probe may take so long'],
  ['--silent-after', 'SILENT_AFTER', 'silentAfterMs', 'without a heartbeat for so long, a node is suspect and probed'],
  [
    '--silent-probe-every',
    'SILENT_PROBE_EVERY',
    'silentProbeMs',
    'a suspect node is sent further probes this often, as a network may lose some',
  ],
  [
    '--refused-probe-every',
    'REFUSED_PROBE_EVERY',
    'refusedProbeMs',
    'a node that refuses connections is probed this often',
  ],
  [
    '--refused-after',
    'REFUSED_AFTER',
    'refusedVerdictMs',
    'refusing for so long since it was last heard, a node is lost',
  ],
  ['--stall', 'STALL', 'stallMs', 'a timer of its own that is later tells that the scheduler stood still'],
  ['--settle', 'SETTLE', 'settleMs', 'after standing still, it reads so long before it judges'],
  ['--lease', 'LEASE', 'leaseMs', 'workloads with onDisconnect: stop end when no scheduler has been heard for so long'],
  ['--flap-window', 'FLAP_WINDOW', 'flapWindowMs', 'losses of a node are counted over so long'],
  ['--quarantine', 'QUARANTINE', 'quarantineMs', 'a node that was lost too often gets nothing new for so long'],
] as const;

interface SchedulerFlags {
  host: string;
  port: number;
  dataDir: string;
  profile: 'default' | 'fast';
  flapLosses?: number;
  [time: string]: unknown;
}

export function registerScheduler(program: Command): void {
  const command = program
    .command('scheduler')
    .description('run the scheduler')
    .addOption(new Option('--host <host>', 'address to listen on').default('127.0.0.1').env('MORCH_HOST'))
    .addOption(new Option('--port <port>', 'port to listen on').default(5000).env('MORCH_PORT').argParser(port))
    .addOption(
      new Option('--data-dir <path>', 'where its store is')
        .default(defaultDataDir('scheduler'), describeDataDir('scheduler'))
        .env('MORCH_DATA_DIR'),
    )
    .addOption(
      new Option('--profile <name>', 'how fast failures are seen; what follows changes single times of it')
        .choices(['default', 'fast'])
        .default('default')
        .env('MORCH_PROFILE'),
    );
  for (const [name, variable, , description] of TIMES) {
    command.addOption(
      new Option(`${name} <time>`, `${description} (default: the profile's)`)
        .env(`MORCH_${variable}`)
        .argParser(flag(parseDurationMs)),
    );
  }
  command
    .addOption(
      new Option('--flap-losses <count>', "so many losses make a node flapping; 0: none do (default: the profile's)")
        .env('MORCH_FLAP_LOSSES')
        .argParser(integer(0, 1_000_000)),
    )
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  $ morch scheduler --port 5000 --data-dir ./scheduler-data\n' +
        '  $ morch scheduler --profile fast --lease 6s',
    )
    .action(async (options: SchedulerFlags, self: Command) => {
      refuseAddress(self);
      const { host, port: listenOn, dataDir, profile, flapLosses } = options;
      demandLoopback(host);
      const times = TIMES.map(([name, , setting]) => [setting, options[keyOfFlag(name)]]);
      const health = { ...Object.fromEntries(times), flapLosses };
      await runPart('scheduler', { host, port: listenOn, dataDir, profile, health });
    });
}

/** As commander names the option of a flag: `--silent-after` → `silentAfter`. */
function keyOfFlag(name: string): string {
  return name.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}
