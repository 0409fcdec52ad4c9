/** `morch restore`: makes a scheduler's store from a backup; the scheduler's own code does it, in this process. */
import { type Command, Option } from 'commander';
import { defaultDataDir, describeDataDir } from '../dataDir';
import { refuseClientFlags, runPart } from '../parts';

interface RestoreFlags {
  dataDir: string;
  force?: boolean;
}

export function registerRestore(program: Command): void {
  program
    .command('restore')
    .description('make the store of a scheduler, which must not run, from a backup')
    .argument('<file>', 'a backup, as morch backup writes it')
    .addOption(
      new Option('--data-dir <path>', "the scheduler's data directory")
        .default(defaultDataDir('scheduler'), describeDataDir('scheduler'))
        .env('MORCH_DATA_DIR'),
    )
    .option('--force', 'move a store that is there aside, to store.before-restore-<time>')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  $ morch restore morch-backup-1f0c2d3e-20260131T080000Z.ndjson\n' +
        '  $ morch restore saved.ndjson --data-dir ./scheduler-data --force',
    )
    .action(async (file: string, { dataDir, force = false }: RestoreFlags, command: Command) => {
      refuseClientFlags(command);
      await runPart('restore', { file, dataDir, force });
    });
}
