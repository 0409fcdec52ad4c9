/** Makes of a start command what its shim is given: names are looked up and groups made on this node. */
import { constants } from 'node:os';
import type { Limits } from '../contract/workload';
import { withProcessDefaults } from '../contract/workload';
import type { Cgroups } from './cgroups';
import { argvOf, cwdOf, environmentOf, fileOf } from './launch';
import { NativeError, type SystemUser } from './native/index';
import { type Fence, type LogPlan, type Rlimit, type RunPlan, SECRETS_GONE, StartFailure } from './processHost';
import { keyOf, type Records, type ResolvedStart } from './records';
import type { RunUsers } from './runUsers';
import { findAllowed } from './scriptDirs';
import type { GivenSecrets, SecretFiles } from './secrets';

/** Far more than an agent that is not held up takes to record an exit. */
const HAND_OVER_MS = 1_000;

export interface RunPlanMeans {
  users: RunUsers;
  /** Null: none are used on this node. */
  cgroups: Pick<Cgroups, 'create'> | null;
  records: Records;
  /** Null: this node takes none. */
  secrets: SecretFiles | null;
  /** How long an instance of a cluster may go on while its agent is absent; 0: for ever. */
  orphanAfterMs: number;
  allowNewPrivileges: boolean;
  /** Where programs may lie; none: anywhere. */
  scriptDirs: readonly string[];
  /** Variables that specs may set where programs are bound to directories. */
  scriptEnv: readonly string[];
}

/** What tells one run of a generation from another. */
export interface RunNames {
  run: number;
  nonce: string;
  logs: LogPlan;
  /** Of the lease that the generation was let in under. */
  leaseTerm: number;
  /** See RunPlan. */
  startUntilMs: number | null;
}

/** @throws StartFailure when its secrets are gone, its user or program is not known or not allowed here, or its directory or group cannot be had */
export async function planRun(
  spec: ResolvedStart,
  { run, nonce, logs, leaseTerm, startUntilMs }: RunNames,
  means: RunPlanMeans,
): Promise<RunPlan> {
  const { instanceId, generation, node, limits, nice, umask } = withProcessDefaults(spec);
  const { records, users, cgroups, scriptDirs: directories, scriptEnv: variables } = means;
  const workDirectory = records.workDirectoryOf(spec);
  const privateCwd = spec.cwd === undefined && spec.script === undefined;
  const user = await users.choose(spec, workDirectory);
  const secrets = await giveSecrets(spec, user, means);
  const ownEnv = { ...spec.env, ...secrets.env };
  const env = environmentOf({ ...spec, env: ownEnv }, { instanceId, generation, run, node, nonce }, user ?? undefined);
  if (secrets.directory !== null) env.MORCH_SECRETS = secrets.directory;
  const cwd = cwdOf(spec, workDirectory);
  const program = { file: fileOf(spec), cwd, searchPath: env.PATH!, env: ownEnv };
  const file = directories.length === 0 ? program.file : await findAllowed(program, { directories, variables });
  const isProvided = privateCwd || user?.home === workDirectory;
  const [cgroup] = await Promise.all([
    cgroups === null ? null : call('cgroup', () => cgroups.create(keyOf(spec), limits)),
    isProvided && call('chown', () => records.provideWorkDirectory(spec, user)),
  ]);
  return {
    key: `${keyOf(spec)}.${run}`,
    generation,
    run,
    file,
    argv: argvOf(spec),
    env,
    cwd,
    privateCwd,
    stateDirectory: records.directoryOf(spec),
    nonce,
    stop: spec.stop,
    logs,
    fence: fenceOf(spec, leaseTerm, means),
    startUntilMs,
    handOverMs: HAND_OVER_MS,
    user,
    rlimits: rlimitsOf(limits),
    umask: Number.parseInt(umask, 8),
    nice,
    noNewPrivileges: !means.allowNewPrivileges,
    shell: spec.script !== undefined,
    cgroup,
  };
}

async function giveSecrets(
  spec: ResolvedStart,
  user: SystemUser | null,
  { secrets }: RunPlanMeans,
): Promise<GivenSecrets> {
  if (spec.secrets === undefined) return { env: {}, directory: null };
  const given = await call('secrets', async () => (await secrets?.give(spec, user)) ?? null);
  if (given === null) throw new StartFailure(SECRETS_GONE, constants.errno.ENOENT, 'ENOENT');
  return given;
}

/** Started without a scheduler, nobody would start it again elsewhere: it goes on. */
function fenceOf(
  { clusterId, onDisconnect = 'replace' }: ResolvedStart,
  leaseTerm: number,
  { orphanAfterMs }: RunPlanMeans,
): Fence {
  if (clusterId === null || onDisconnect === 'keep') return { kind: 'keep' };
  return onDisconnect === 'stop' ? { kind: 'stop', leaseTerm } : { kind: 'replace', orphanAfterMs };
}

function rlimitsOf({ coreBytes, fileBytes, openFiles }: Limits): Rlimit[] {
  const limits: [Rlimit['resource'], number | undefined][] = [
    ['core', coreBytes],
    ['fileSize', fileBytes],
    ['openFiles', openFiles],
  ];
  return limits.flatMap(([resource, value]) => (value === undefined ? [] : [{ resource, value }]));
}

async function call<T>(step: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (cause instanceof NativeError) throw new StartFailure(cause.syscall, cause.errno, cause.code, { cause });
    const { errno = 0, code } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw cause;
    throw new StartFailure(step, Math.abs(errno), code, { cause });
  }
}
