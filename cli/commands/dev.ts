/** `morch dev`: a whole cluster on this machine, until Ctrl-C. */
import path from 'node:path';
import { type Command, Option } from 'commander';
import { MorchError } from '../../contract/errors';
import { type Context, contextFile, loadContexts, saveContext } from '../contextFile';
import { defaultDataDir, describeDataDir } from '../dataDir';
import { Cluster, type ClusterPlan } from '../dev/cluster';
import { allowedHostOption, integer, noAuthOption, port } from '../flags';
import { print, say } from '../output';
import { isAuthOff, refuseClientFlags } from '../parts';

const PACKAGE_ROOT = path.join(__dirname, '..', '..', '..');
const DEFAULT_PORT = 5000;
const DEV_CONTEXT = 'dev';
const SAME_PRESS_MS = 500;

interface DevFlags {
  agents: number;
  port: number;
  dataDir: string;
  auth: boolean;
  allowedHost?: string[];
}

export function registerDev(program: Command): void {
  program
    .command('dev')
    .description('run a scheduler and some agents on this machine, until Ctrl-C')
    .addOption(new Option('--agents <n>', 'how many').default(3).env('MORCH_AGENTS').argParser(integer(1, 100)))
    .addOption(
      new Option('--port <port>', "the scheduler's port; the agents take the next ones")
        .default(DEFAULT_PORT)
        .env('MORCH_PORT')
        .argParser(port),
    )
    .addOption(
      new Option('--data-dir <path>', 'where all data and logs are')
        .default(defaultDataDir('dev'), describeDataDir('dev'))
        .env('MORCH_DATA_DIR'),
    )
    .addOption(allowedHostOption())
    .addOption(noAuthOption())
    .addHelpText('after', '\nExample:\n  $ morch dev --agents 5 --port 6000 --data-dir ./dev-data')
    .action(async (flags: DevFlags, command: Command) => {
      refuseClientFlags(command);
      if (flags.port + flags.agents > 65_535) {
        throw new MorchError(
          'INVALID_INPUT',
          `--port ${flags.port} leaves no room for ${flags.agents} agents above it`,
        );
      }
      process.exitCode = await runDev({
        agents: flags.agents,
        port: flags.port,
        dataDir: path.resolve(flags.dataDir),
        auth: !isAuthOff(flags.auth),
        allowedHosts: flags.allowedHost ?? [],
      });
    });
}

/** @returns the exit code: 0 after a signal, 1 when it did not come up */
async function runDev(plan: ClusterPlan): Promise<number> {
  // A terminal that was closed must not end this before the parts have stopped.
  process.stdout.removeAllListeners('error').on('error', () => undefined);
  const cluster = new Cluster(plan);
  const signalled = new Promise<void>((resolve) => {
    let firstAtMs = Number.POSITIVE_INFINITY;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        // Under npm one Ctrl-C arrives twice: from the terminal and from npm.
        if (Date.now() - firstAtMs > SAME_PRESS_MS)
          say(`still waiting for ${cluster.describeLiving()} to end; kill -9 one to give it up`);
        firstAtMs = Math.min(firstAtMs, Date.now());
        resolve();
      });
    }
  });
  try {
    const up = cluster.start().then(async (isUp) => {
      if (isUp) print(banner(cluster, plan, await provideContext(cluster, plan)));
    });
    await Promise.race([up, signalled]);
    await signalled;
  } catch (error) {
    say(`morch dev: ${error instanceof Error ? error.message : String(error)}`);
    await cluster.stop();
    return 1;
  }
  await cluster.stop();
  say(`stopped; the records are kept in ${plan.dataDir}`);
  return 0;
}

/**
 * Lets the commands find this cluster and its token. It becomes what they mean when nothing is said, unless that is
 * another cluster than one of `morch dev`.
 *
 * @returns the flags that they still need
 */
async function provideContext(cluster: Cluster, { port: at, auth }: ClusterPlan): Promise<string[]> {
  const name = at === DEFAULT_PORT ? DEV_CONTEXT : `${DEV_CONTEXT}-${at}`;
  const context: Context = { address: cluster.address, ...(auth ? { tokenFile: cluster.adminTokenFile } : {}) };
  const isDev = (current: string | undefined) => current === undefined || /^dev(-\d+)?$/.test(current);
  try {
    const file = contextFile();
    await saveContext(file, name, context, isDev);
    return loadContexts(file).current === name ? [] : ['--address', cluster.address];
  } catch (error) {
    say(`the context ${name} could not be written: ${(error as Error).message}`);
    return ['--address', cluster.address, ...(auth ? ['--token-file', cluster.adminTokenFile] : [])];
  }
}

function banner(cluster: Cluster, plan: ClusterPlan, flags: string[]): string {
  const { enter, morch } = waysToCall(process.env);
  const call = [morch, ...flags.map(shellWord)].join(' ');
  const sample = shellWord(path.join(PACKAGE_ROOT, 'scripts', 'sample-workload.sh'));
  const last = cluster.parts.at(-1)?.name ?? '';
  const pidOf = (name: string) => cluster.parts.find((part) => part.name === name)?.pid;
  return `
morch dev is up
${cluster.parts.map((part) => `  ${part.name.padEnd(10)}http://127.0.0.1:${part.port}  (pid ${part.pid})`).join('\n')}
  data      ${plan.dataDir}
  logs      ${cluster.logDir}

Try in another terminal:
${enter}  ${call} submit ${sample} 60 --name sample
  ${call} workloads
  ${call} logs sample

Kill the scheduler: workloads go on, and it is started again within seconds.
  kill -9 ${pidOf('scheduler')}

Kill agent ${last}: in about 4 s its workloads run elsewhere, if there is another agent. It is started again after 10 s.
  kill -9 ${pidOf(last)}
  ${call} recovery

Make agent n1 fall silent: within seconds its workloads run elsewhere. Then let it come back.
  kill -STOP ${pidOf('n1')}
  kill -CONT ${pidOf('n1')}

Ctrl-C here stops all, workloads included.
`;
}

/** How this command can be called from another terminal: from a checkout only inside it. */
function waysToCall(env: NodeJS.ProcessEnv): { enter: string; morch: string } {
  const installed = PACKAGE_ROOT.split(path.sep).includes('node_modules');
  if (!installed) return { enter: `  cd ${shellWord(path.resolve(PACKAGE_ROOT))}\n`, morch: 'npx morch' };
  return { enter: '', morch: env.npm_command === 'exec' ? 'npx morch' : 'morch' };
}

function shellWord(text: string): string {
  return /^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
