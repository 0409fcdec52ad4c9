/** `morch scheduler`: runs the scheduler in this process. */
import { type Command, Option } from 'commander';
import { port } from '../flags';
import { defaultDataDir, demandLoopback, describeDataDir, refuseAddress, runPart } from '../parts';

export function registerScheduler(program: Command): void {
  program
    .command('scheduler')
    .description('run the scheduler')
    .addOption(new Option('--host <host>', 'address to listen on').default('127.0.0.1').env('MORCH_HOST'))
    .addOption(new Option('--port <port>', 'port to listen on').default(5000).env('MORCH_PORT').argParser(port))
    .addOption(
      new Option('--data-dir <path>', 'where its store is')
        .default(defaultDataDir('scheduler'), describeDataDir('scheduler'))
        .env('MORCH_DATA_DIR'),
    )
    .addHelpText('after', '\nExample:\n  $ morch scheduler --port 5000 --data-dir ./scheduler-data')
    .action(async (options: { host: string; port: number; dataDir: string }, command: Command) => {
      refuseAddress(command);
      demandLoopback(options.host);
      await runPart('scheduler', options);
    });
}
