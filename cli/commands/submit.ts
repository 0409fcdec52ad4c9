/** `morch submit`: turns flags into a workload's spec, submits it, says where it went. */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';
import { type Command, Option } from 'commander';
import { MorchError } from '../../contract/errors';
import { dnsLabelSchema, umaskSchema, userSchema } from '../../contract/fields';
import type { SecretReference } from '../../contract/secrets';
import { isTerminal } from '../../contract/states';
import {
  type Constraint,
  kindSchema,
  type Limits,
  type OnDisconnect,
  onDisconnectSchema,
  pickProcess,
  type Workload,
  type WorkloadInput,
} from '../../contract/workload';
import { type Client, clientOf } from '../client';
import { isOnLoopback } from '../context';
import { collect, flag, integer, LONGEST, parseConstraint, parsePair, text, within } from '../flags';
import { print, say } from '../output';
import { type FlagNames, flagNames, inFlags } from '../problems';
import { describeProgress, loadWorkload, waitUntil } from '../progress';
import { parseCpuMillis, parseDurationMs, parseMemoryBytes } from '../quantities';
import { isUp } from '../waiting';
import { waitForWorkload } from './wait';

/** How long submit looks on, to say where the workload went. */
const SAY_WHERE_WITHIN_MS = 2_000;

/** Cores. */
const MOST_CPU = '1000000';

interface SubmitFlags {
  command?: boolean;
  name?: string;
  kind?: WorkloadInput['kind'];
  replicas?: number;
  env?: [string, string][];
  secretEnv?: [string, string][];
  secretFile?: [string, string][];
  label?: [string, string][];
  cwd?: string;
  cpu?: number;
  memory?: number;
  constraint?: Constraint[];
  strategy?: 'spread' | 'binpack';
  restart?: 'always' | 'on-failure' | 'never';
  attempts?: number;
  grace?: number;
  maxRun?: number;
  user?: string;
  limitCpu?: number;
  limitMemory?: number;
  limitPids?: number;
  limitOpenFiles?: number;
  nice?: number;
  umask?: string;
  onDisconnect?: OnDisconnect;
  logMaxBytes?: number;
  logFiles?: number;
  wait?: boolean;
  timeout?: number;
  quiet?: boolean;
}

/** Fields of the spec that are not called as their flags are. */
const FIELDS: FlagNames = {
  '/id': '--name',
  '/script': 'the script',
  '/command': 'the program',
  '/args': 'the arguments',
  '/labels': '--label',
  '/resources/cpuMillis': '--cpu',
  '/resources/memoryBytes': '--memory',
  '/placement/constraints': '--constraint',
  '/placement/strategy': '--strategy',
  '/restart/policy': '--restart',
  '/restart/attempts': '--attempts',
  '/stop/graceMs': '--grace',
  '/maxRunMs': '--max-run',
  '/limits/cpuMillis': '--limit-cpu',
  '/limits/memoryBytes': '--limit-memory',
  '/limits/pids': '--limit-pids',
  '/limits/openFiles': '--limit-open-files',
  '/logs/maxBytes': '--log-max-bytes',
  '/logs/files': '--log-files',
  '/secrets': '--secret-env or --secret-file',
};

export function registerSubmit(program: Command): void {
  const command = program
    .command('submit')
    .description('run a script, or with --command a program, on the cluster')
    .argument('<script>', 'path of the script; with --command the program')
    .argument('[args...]', 'its arguments; those that begin with - come after --')
    .option('--command', 'run a program by its name or path, with PATH search, rather than a script file')
    .option('--name <id>', "the workload's id (default: made from the script's name)", text(dnsLabelSchema))
    .addOption(new Option('--kind <kind>', 'what it is (default: batch)').choices(kindSchema.options))
    .option('--replicas <n>', 'how many instances (default: 1)', integer(0, 1_000_000))
    .option('--env <name=value>', 'an environment variable, may be repeated', collect(parsePair))
    .option(
      '--secret-env <name=secret>',
      'an environment variable from a secret, may be repeated: DB_PASSWORD=db.password',
      collect(parsePair),
    )
    .option(
      '--secret-file <file=secret>',
      'a file from a secret, in the directory $MORCH_SECRETS, may be repeated: server.key=tls.key',
      collect(parsePair),
    )
    .option('--label <key=value>', 'a label, may be repeated', collect(parsePair))
    .option('--cwd <path>', "working directory (default: the script's)")
    .option(
      '--cpu <amount>',
      'CPU to reserve for each instance, such as 250m, 0.5 or 2',
      within(parseCpuMillis, '0', MOST_CPU),
    )
    .option('--memory <amount>', 'memory to reserve for each instance, such as 512MiB', flag(parseMemoryBytes))
    .option(
      '--constraint <rule>',
      'where it may run, by node labels: zone=a,b  zone!=a  zone  !zone; may be repeated',
      collect(parseConstraint),
    )
    .addOption(
      new Option('--strategy <strategy>', 'how nodes are chosen (default: spread)').choices(['spread', 'binpack']),
    )
    .addOption(
      new Option('--restart <policy>', 'when it is started again (default: batch on-failure, else always)').choices([
        'always',
        'on-failure',
        'never',
      ]),
    )
    .option(
      '--attempts <n>',
      'starts in a row before it is failed, 0 = no limit (default: batch 3, else 0)',
      integer(0, 1_000_000),
    )
    .option(
      '--grace <duration>',
      'from the stop signal to SIGKILL, such as 10s (the default)',
      within(parseDurationMs, '0', LONGEST),
    )
    .option('--max-run <duration>', 'longest run, such as 1h', within(parseDurationMs, '1ms', LONGEST))
    .option(
      '--user <name>',
      "login name or uid to run as (default: one of its instance's own, or the agent's)",
      text(userSchema),
    )
    .option(
      '--limit-cpu <amount>',
      'CPU that all its processes together may use, such as 500m',
      within(parseCpuMillis, '10m', MOST_CPU),
    )
    .option(
      '--limit-memory <amount>',
      'memory that all its processes together may use, such as 512MiB',
      within(parseMemoryBytes, '1MiB'),
    )
    .option('--limit-pids <n>', 'processes and threads it may have at a time', integer(1, 4_194_304))
    .option('--limit-open-files <n>', 'files that each of its processes may have open', integer(1, 1_073_741_816))
    .option('--nice <n>', 'nice value, -20 (first served) to 19 (default: 0)', integer(-20, 19))
    .option('--umask <octal>', 'file mode creation mask (default: 022)', text(umaskSchema))
    .option(
      '--log-max-bytes <amount>',
      'size of a file of its output (default: 10MiB)',
      within(parseMemoryBytes, '4KiB', '1TiB'),
    )
    .option(
      '--log-files <n>',
      'such files kept per stream, over all runs of an instance (default: 10)',
      integer(1, 1_000),
    )
    .addOption(
      new Option(
        '--on-disconnect <what>',
        'when its node is lost: replace it at once (default), stop it first so that it never runs twice, or keep it for the node',
      ).choices(onDisconnectSchema.options),
    )
    .option('--wait', 'wait like `morch wait`, and end with its exit code')
    .option('--timeout <duration>', 'with --wait: how long at most, such as 30s', flag(parseDurationMs))
    .option('-q, --quiet', 'print the id only, as soon as it is accepted')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch submit ./job.sh --wait\n  $ morch submit ./web.sh --name web --kind service --replicas 3 --memory 256MiB\n' +
        '  $ morch submit ./job.sh --user www-data --limit-memory 512MiB --limit-cpu 500m --limit-pids 64\n' +
        '  $ morch submit ./singleton.sh --kind service --on-disconnect stop\n' +
        '  $ morch submit ./job.sh -- --verbose input.txt\n  $ morch submit --command -- sleep 60',
    );
  command.action(async (program_: string, args: string[], flags: SubmitFlags) => {
    if (flags.timeout !== undefined && flags.wait !== true) {
      throw new MorchError('INVALID_INPUT', '--timeout limits --wait; give both or neither');
    }
    const client = clientOf(command);
    const spec = specOf(program_, args, flags, process.cwd());
    if (spec.script !== undefined && isOnLoopback(client.address)) demandScript(spec.script, program_);
    const workload = await client
      .submit(spec, (error) => say(`${error.message.split('\n')[0]} Trying again.`))
      .catch((error: unknown) => {
        throw inFlags(error, flagNames(command, FIELDS));
      });
    print(workload.id);
    if (flags.wait === true) {
      process.exitCode = await waitForWorkload(client, workload, {
        goal: undefined,
        timeoutMs: flags.timeout,
        quiet: flags.quiet ?? false,
      });
    } else if (flags.quiet !== true) {
      await sayWhere(client, workload);
    }
  });
}

/** Pure: the spec that the flags stand for. */
export function specOf(program: string, args: readonly string[], flags: SubmitFlags, cwd: string): WorkloadInput {
  const { name, kind, replicas, env, label, cpu, memory, constraint, strategy, restart, attempts, grace } = flags;
  const { maxRun, user, nice, umask, logMaxBytes, logFiles, onDisconnect } = flags;
  return {
    ...(name === undefined ? {} : { id: name }),
    ...(kind === undefined ? {} : { kind }),
    ...pickProcess({
      ...(flags.command === true
        ? { command: [program, ...args] }
        : { script: path.resolve(cwd, program), args: args.length === 0 ? undefined : [...args] }),
      env: env === undefined ? undefined : Object.fromEntries(env),
      cwd: flags.cwd === undefined ? undefined : path.resolve(cwd, flags.cwd),
      maxRunMs: maxRun,
      user,
      secrets: secretsOf(flags),
      limits: limitsOf(flags),
      nice,
      umask,
      logs:
        logMaxBytes === undefined && logFiles === undefined ? undefined : { maxBytes: logMaxBytes, files: logFiles },
      onDisconnect,
    }),
    ...(replicas === undefined ? {} : { replicas }),
    ...(label === undefined ? {} : { labels: Object.fromEntries(label) }),
    ...(cpu === undefined && memory === undefined
      ? {}
      : { resources: { cpuMillis: cpu ?? 0, memoryBytes: memory ?? 0 } }),
    ...(constraint === undefined && strategy === undefined
      ? {}
      : { placement: { strategy: strategy ?? 'spread', constraints: constraint ?? [] } }),
    ...(restart === undefined && attempts === undefined
      ? {}
      : {
          restart: {
            ...(restart === undefined ? {} : { policy: restart }),
            ...(attempts === undefined ? {} : { attempts }),
          },
        }),
    ...(grace === undefined ? {} : { stop: { graceMs: grace } }),
  };
}

function secretsOf({ secretEnv = [], secretFile = [] }: SubmitFlags): SecretReference[] | undefined {
  const secrets = [
    ...secretEnv.map(([env, name]) => ({ name, env })),
    ...secretFile.map(([file, name]) => ({ name, file })),
  ];
  return secrets.length === 0 ? undefined : secrets;
}

function limitsOf({ limitCpu, limitMemory, limitPids, limitOpenFiles }: SubmitFlags): Limits | undefined {
  const limits: Limits = {
    ...(limitCpu === undefined ? {} : { cpuMillis: limitCpu }),
    ...(limitMemory === undefined ? {} : { memoryBytes: limitMemory }),
    ...(limitPids === undefined ? {} : { pids: limitPids }),
    ...(limitOpenFiles === undefined ? {} : { openFiles: limitOpenFiles }),
  };
  return Object.keys(limits).length === 0 ? undefined : limits;
}

/**
 * A scheduler on loopback shares this machine's files, so a script that cannot run is said before it is submitted.
 *
 * @throws MorchError INVALID_INPUT
 */
function demandScript(script: string, typed: string): void {
  try {
    if (!statSync(script).isFile()) throw new MorchError('INVALID_INPUT', `${script} is not a file`);
    accessSync(script, constants.X_OK);
  } catch (error) {
    if (error instanceof MorchError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EACCES' && isReadable(script)) {
      throw new MorchError('INVALID_INPUT', `${script} is not executable; run \`chmod +x ${typed}\` first`, {
        cause: error,
      });
    }
    const why = code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    const hint = typed.includes('/') ? '' : '. To run a program found by PATH, use `morch submit --command`';
    throw new MorchError('INVALID_INPUT', `Cannot submit ${script}: ${why}${hint}`, { cause: error });
  }
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.F_OK);
    return true;
  } catch {
    return false;
  }
}

/** Looks on for a moment; what it says is a courtesy, so that nothing here makes an accepted submit fail. */
async function sayWhere(client: Client, submitted: Workload): Promise<void> {
  let latest = submitted;
  try {
    await waitUntil(
      async () => {
        latest = await loadWorkload(client, submitted.id);
        return isUp(latest) || isTerminal(latest.status)
          ? { kind: 'over', value: undefined }
          : { kind: 'waiting', progress: '' };
      },
      { timeoutMs: SAY_WHERE_WITHIN_MS },
    );
  } catch (error) {
    say(`${submitted.id}: accepted; what became of it is not known: ${(error as Error).message}`);
    return;
  }
  say(describeProgress(latest));
}
