/** `morch scheduler`: runs the scheduler in this process. */
import { type Command, Option } from 'commander';
import { defaultDataDir, describeDataDir } from '../dataDir';
import { absolutePaths, allowedHostOption, flag, integer, noAuthOption, port, tlsOptions, within } from '../flags';
import { isAuthOff, refuseClientFlags, runPart } from '../parts';
import { flagNames } from '../problems';
import { parseDurationMs } from '../quantities';

/** As scheduler/options.ts has it. */
const LONGEST_TIME = '24h';
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
  auditDir?: string;
  profile: 'default' | 'fast';
  flapLosses?: number;
  rateLimit: number;
  auth: boolean;
  allowedHost?: string[];
  tls: boolean;
  tlsCert?: string;
  tlsKey?: string;
  tlsCa?: string;
  tlsValidity: number;
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
      new Option('--audit-dir <path>', 'where its audit log is (default: the data directory)').env('MORCH_AUDIT_DIR'),
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
        .argParser(within(parseDurationMs, '1ms', LONGEST_TIME)),
    );
  }
  for (const option of tlsOptions()) command.addOption(option);
  command
    .addOption(
      new Option(
        '--tls-ca <path>',
        'who has signed it, for agents to know it by; and agents that show one of their own',
      ).env('MORCH_TLS_CA'),
    )
    .addOption(
      new Option('--tls-validity <time>', 'how long the certificates last that it issues')
        .default(90 * 86_400_000, '90d')
        .env('MORCH_TLS_VALIDITY')
        .argParser(flag(parseDurationMs)),
    )
    .addOption(
      new Option('--rate-limit <count>', 'so many requests in a second are taken of one token; 0: any number')
        .default(2_000)
        .env('MORCH_RATE_LIMIT')
        .argParser(integer(0, 1_000_000)),
    )
    .addOption(
      new Option('--flap-losses <count>', "so many losses make a node flapping; 0: none do (default: the profile's)")
        .env('MORCH_FLAP_LOSSES')
        .argParser(integer(0, 1_000_000)),
    )
    .addOption(allowedHostOption())
    .addOption(noAuthOption())
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  $ morch scheduler --port 5000 --data-dir ./scheduler-data\n' +
        '  $ morch scheduler --host 0.0.0.0 --allowed-host scheduler.example\n' +
        '  $ morch scheduler --profile fast --lease 6s',
    )
    .action(async (options: SchedulerFlags, self: Command) => {
      refuseClientFlags(self);
      const { host, port: listenOn, profile, flapLosses, allowedHost: allowedHosts, tls } = options;
      const times = TIMES.map(([name, , setting]) => [setting, options[keyOfFlag(name)]]);
      const health = { ...Object.fromEntries(times), flapLosses };
      const names = TIMES.map(([name, , setting]) => [`/health/${setting}`, name]);
      const given = {
        host,
        port: listenOn,
        auth: !isAuthOff(options.auth),
        allowedHosts,
        rateLimit: options.rateLimit,
        tls,
        ...absolutePaths(options, ['dataDir', 'auditDir', 'tlsCert', 'tlsKey', 'tlsCa']),
        tlsValidityMs: options.tlsValidity,
        profile,
        health,
      };
      await runPart('scheduler', given, flagNames(self, Object.fromEntries(names)));
    });
}

/** As commander names the option of a flag: `--silent-after` → `silentAfter`. */
function keyOfFlag(name: string): string {
  return name.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}
