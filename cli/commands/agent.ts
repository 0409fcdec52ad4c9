/** `morch agent`: runs the agent of this node in this process. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Command, Option } from 'commander';
import { isLoopbackHost } from '../../access/loopback';
import { MorchError } from '../../contract/errors';
import { defaultDataDir, describeDataDir } from '../dataDir';
import {
  absolutePaths,
  allowedHostOption,
  collect,
  flag,
  LONGEST,
  noAuthOption,
  parsePair,
  parsePairs,
  port,
  tlsOptions,
  within,
} from '../flags';
import { isAuthOff, refuseClientFlags, runPart } from '../parts';
import { type FlagNames, flagNames } from '../problems';
import { parseCpuMillisFlag, parseDurationMs, parseMemoryBytes } from '../quantities';

interface AgentFlags {
  host: string;
  port: number;
  advertise?: string;
  dataDir: string;
  scheduler?: string;
  joinTokenFile?: string;
  auth: boolean;
  allowedHost?: string[];
  tls: boolean;
  tlsCert?: string;
  tlsKey?: string;
  tlsCa?: string;
  name?: string;
  label?: string[];
  cpuMillis?: number;
  memoryBytes?: number;
  maxLogBytes?: number;
  onExit: 'keep' | 'stop';
  orphanAfter: number;
  allowNewPrivileges: boolean;
  runAs?: 'own' | 'agent';
  userRange: string;
  allowUser?: string[];
  allowRoot: boolean;
  scriptDir?: string[];
  scriptEnv?: string[];
  cgroup: string;
}

/** Settings that are not called as their flags are. */
const FIELDS: FlagNames = {
  '/labels': '--label',
  '/orphanAfterMs': '--orphan-after',
  '/allowUsers': '--allow-user',
  '/scriptDirs': '--script-dir',
};

export function registerAgent(program: Command): void {
  const command = program
    .command('agent')
    .description("run this node's agent")
    .addOption(new Option('--host <host>', 'address to listen on').default('127.0.0.1').env('MORCH_HOST'))
    .addOption(new Option('--port <port>', 'port to listen on').default(8080).env('MORCH_PORT').argParser(port))
    .addOption(
      new Option('--advertise <host:port>', 'where the scheduler reaches it, if not where it listens').env(
        'MORCH_ADVERTISE',
      ),
    )
    .addOption(
      new Option('--data-dir <path>', 'where its records and logs are')
        .default(defaultDataDir('agent'), describeDataDir('agent'))
        .env('MORCH_DATA_DIR'),
    )
    .addOption(new Option('--scheduler <url>', 'the scheduler to join; none: used alone').env('MORCH_SCHEDULER'))
    .addOption(
      new Option(
        '--join-token-file <path>',
        "the scheduler's join.token, or another of its join tokens (env: MORCH_JOIN_TOKEN, the token itself)",
      ).env('MORCH_JOIN_TOKEN_FILE'),
    )
    .addOption(new Option('--name <id>', "the node's id (default: the host name)").env('MORCH_NAME'))
    .addOption(
      new Option('--label <key=value>', 'a label for placement, may be repeated (in MORCH_LABEL: a=1,b=2)')
        .env('MORCH_LABEL')
        .argParser(collect((text) => text)),
    )
    .addOption(
      new Option('--cpu-millis <amount>', 'CPU to give out, such as 2000, 250m or 0.5 (default: all)')
        .env('MORCH_CPU_MILLIS')
        .argParser(within(parseCpuMillisFlag, '0', '1000000000')),
    )
    .addOption(
      new Option('--memory-bytes <amount>', 'memory to give out, such as 512MiB (default: all less a reserve)')
        .env('MORCH_MEMORY_BYTES')
        .argParser(flag(parseMemoryBytes)),
    )
    .addOption(
      new Option('--max-log-bytes <amount>', 'most output kept of all instances together, such as 10GiB; 0: no limit')
        .default(10 * 2 ** 30, '10GiB')
        .env('MORCH_MAX_LOG_BYTES')
        .argParser(flag(parseMemoryBytes)),
    )
    .addOption(
      new Option(
        '--on-exit <what>',
        'when it ends in order: keep its workloads running for its successor, or stop them',
      )
        .choices(['keep', 'stop'])
        .default('keep')
        .env('MORCH_ON_EXIT'),
    )
    .addOption(
      new Option('--orphan-after <time>', 'stop workloads of a cluster whose agent has been gone so long; 0: never')
        .default(600_000, '10m')
        .env('MORCH_ORPHAN_AFTER')
        .argParser(within(parseDurationMs, '0', LONGEST)),
    )
    .addOption(
      new Option('--allow-new-privileges', 'let workloads gain rights, such as by sudo')
        .default(false)
        .env('MORCH_ALLOW_NEW_PRIVILEGES'),
    )
    .addOption(
      new Option(
        '--run-as <whom>',
        'run each instance as a user of its own (the default of an agent that runs as root), or as the agent',
      )
        .choices(['own', 'agent'])
        .env('MORCH_RUN_AS'),
    )
    .addOption(
      new Option('--user-range <from-to>', 'the uids, and gids, that instances have of their own')
        .default('1610612736-1610678271')
        .env('MORCH_USER_RANGE'),
    )
    .addOption(
      new Option(
        '--allow-user <name>',
        'let workloads name this user, may be repeated; *: all but root (in MORCH_ALLOW_USER: a,b)',
      )
        .env('MORCH_ALLOW_USER')
        .argParser(collect((text) => text)),
    )
    .addOption(new Option('--allow-root', 'let workloads name root').default(false).env('MORCH_ALLOW_ROOT'))
    .addOption(
      new Option(
        '--script-dir <path>',
        'start only programs that lie there, may be repeated (in MORCH_SCRIPT_DIR: /a:/b)',
      )
        .env('MORCH_SCRIPT_DIR')
        .argParser(collect((text) => text)),
    )
    .addOption(
      new Option(
        '--script-env <name>',
        'with --script-dir: let specs set this variable too, may be repeated; DB_*: all that begin so (in MORCH_SCRIPT_ENV: a,b)',
      )
        .env('MORCH_SCRIPT_ENV')
        .argParser(collect((text) => text)),
    )
    .addOption(
      new Option('--cgroup <group>', 'where instances are grouped (cgroup v2) for hard limits: auto, none or a path')
        .default('auto')
        .env('MORCH_CGROUP'),
    )
    .addOption(allowedHostOption())
    .addOption(noAuthOption());
  for (const option of tlsOptions()) command.addOption(option);
  command
    .addOption(
      new Option('--tls-ca <path>', "who has signed the scheduler's certificate, if not its cluster's authority").env(
        'MORCH_TLS_CA',
      ),
    )
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  $ morch agent --name n1 --scheduler http://127.0.0.1:5000 --label zone=a --memory-bytes 2GiB\n' +
        '  $ morch agent --host 10.0.0.7 --scheduler https://10.0.0.1:5000 --join-token-file join.token\n' +
        '  $ morch agent --cgroup /sys/fs/cgroup/morch --max-log-bytes 50GiB',
    )
    .action(
      async (
        {
          label = [],
          allowUser,
          scriptDir,
          scriptEnv,
          orphanAfter,
          auth,
          allowedHost: allowedHosts,
          ...options
        }: AgentFlags,
        command: Command,
      ) => {
        refuseClientFlags(command);
        const fromEnv = command.getOptionValueSource('label') === 'env';
        const split = (flag: 'allowUser' | 'scriptDir' | 'scriptEnv', values: string[] = [], separator: string) =>
          command.getOptionValueSource(flag) === 'env' ? values.flatMap((text) => text.split(separator)) : values;
        const pairs = label.flatMap((text) => (fromEnv ? parsePairs(text) : [parsePair(text)]));
        if (options.scheduler !== undefined && !URL.canParse(options.scheduler)) {
          throw new MorchError(
            'INVALID_INPUT',
            `--scheduler: "${options.scheduler}" is not a URL, such as http://127.0.0.1:5000`,
          );
        }
        const given = {
          ...options,
          ...absolutePaths(options, ['dataDir', 'tlsCert', 'tlsKey', 'tlsCa']),
          orphanAfterMs: orphanAfter,
          allowUsers: split('allowUser', allowUser, ','),
          scriptDirs: split('scriptDir', scriptDir, ':'),
          scriptEnv: split('scriptEnv', scriptEnv, ','),
          auth: !isAuthOff(auth),
          allowedHosts,
          ...joinTokenOf(options),
          labels: Object.fromEntries(pairs),
        };
        await runPart('agent', given, flagNames(command, FIELDS));
      },
    );
}

/** Given, or that of a scheduler which keeps its data where it does by default on this machine. */
function joinTokenOf({ scheduler, joinTokenFile }: Pick<AgentFlags, 'scheduler' | 'joinTokenFile'>) {
  if (joinTokenFile !== undefined) return { joinTokenFile: path.resolve(joinTokenFile) };
  const { MORCH_JOIN_TOKEN: joinToken = '' } = process.env;
  if (joinToken !== '') return { joinToken };
  if (scheduler === undefined || !isLoopbackHost(new URL(scheduler).hostname)) return {};
  const file = path.join(defaultDataDir('scheduler'), 'join.token');
  return existsSync(file) ? { joinTokenFile: file } : {};
}
