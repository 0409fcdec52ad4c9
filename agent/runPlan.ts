/** Makes of a start command what its shim is given: names are looked up and groups made on this node. */
import { chown } from 'node:fs/promises';
import { constants } from 'node:os';
import type { Limits } from '../contract/workload';
import { withProcessDefaults } from '../contract/workload';
import type { Cgroups } from './cgroups';
import { argvOf, cwdOf, environmentOf, fileOf } from './launch';
import { type Native, NativeError, type SystemUser } from './native/index';
import { type Fence, type LogPlan, type Rlimit, type RunPlan, SECRETS_GONE, StartFailure } from './processHost';
import { keyOf, type Records, type ResolvedStart } from './records';
import type { GivenSecrets, SecretFiles } from './secrets';

export interface RunPlanMeans {
  native: Pick<Native, 'lookUpUser'>;
  /** Null: none are used on this node. */
  cgroups: Pick<Cgroups, 'create'> | null;
  records: Records;
  /** Null: this node takes none. */
  secrets: SecretFiles | null;
  /** How long an instance of a cluster may go on while its agent is absent; 0: for ever. */
  orphanAfterMs: number;
  allowNewPrivileges: boolean;
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

/** @throws StartFailure when its secrets are gone, the user is not known here, or its directory or group cannot be had */
export async function planRun(
  spec: ResolvedStart,
  { run, nonce, logs, leaseTerm, startUntilMs }: RunNames,
  means: RunPlanMeans,
): Promise<RunPlan> {
  const { instanceId, generation, node, limits, nice, umask } = withProcessDefaults(spec);
  const workDirectory = means.records.workDirectoryOf(spec);
  const privateCwd = spec.cwd === undefined && spec.script === undefined;
  const user = spec.user === undefined ? null : await lookUp(spec.user, means.native);
  if (user !== null && privateCwd) await call('chown', () => chown(workDirectory, user.uid, user.gid));
  const { env: secretEnv, directory: secretFiles } = await giveSecrets(spec, user, means);
  const { cgroups } = means;
  return {
    key: `${keyOf(spec)}.${run}`,
    generation,
    run,
    file: fileOf(spec),
    argv: argvOf(spec),
    env: {
      ...environmentOf(
        { ...spec, env: { ...spec.env, ...secretEnv } },
        { instanceId, generation, run, node, nonce },
        user ?? undefined,
      ),
      ...(secretFiles === null ? {} : { MORCH_SECRETS: secretFiles }),
    },
    cwd: cwdOf(spec, workDirectory),
    privateCwd,
    stateDirectory: means.records.directoryOf(spec),
    nonce,
    stop: spec.stop,
    logs,
    fence: fenceOf(spec, leaseTerm, means),
    startUntilMs,
    user,
    rlimits: rlimitsOf(limits),
    umask: Number.parseInt(umask, 8),
    nice,
    noNewPrivileges: !means.allowNewPrivileges,
    shell: spec.script !== undefined,
    cgroup: cgroups === null ? null : await call('cgroup', () => cgroups.create(keyOf(spec), limits)),
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

async function lookUp(name: string, native: RunPlanMeans['native']): Promise<SystemUser> {
  const user = await native.lookUpUser(name);
  if (user === null) throw new StartFailure('getpwnam', constants.errno.ENOENT, 'ENOENT');
  return user;
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
