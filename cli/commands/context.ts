/** `morch context`: which schedulers the commands know, and which one they mean. */
import type { Command } from 'commander';
import { chooseTarget, type TargetFlags } from '../context';
import { contextFile, loadContexts, useContext } from '../contextFile';
import { addOutputOptions, outputOptionsOf, print, printList, renderFields, renderOne, say } from '../output';
import { CONTEXTS } from '../tables';

export function registerContext(program: Command): void {
  const command = program
    .command('context')
    .description('list the schedulers that are known by name, and choose one')
    .addHelpText(
      'after',
      '\nContexts are in ~/.config/morch/config.yaml:\n' +
        '  current: prod\n  contexts:\n    prod:\n      address: https://scheduler.example:5000\n      tokenFile: prod.token\n' +
        '\nExamples:\n  $ morch context list\n  $ morch context use prod\n  $ morch context show',
    );
  registerList(command);
  registerShow(command);
  command
    .command('use')
    .description('make it the one that commands mean')
    .argument('<name>', 'of a context')
    .action(async (name: string) => {
      await useContext(contextFile(), name);
      say(`commands mean ${name} now`);
    });
}

function registerList(parent: Command): void {
  const command = parent.command('list').description('list the contexts; a * marks the current one');
  addOutputOptions(command, { list: true });
  command.action(() => {
    const { current, contexts } = loadContexts(contextFile());
    const rows = Object.entries(contexts).map(([name, { address, tokenFile, caFile }]) => ({
      name,
      current: name === current,
      address,
      tokenFile,
      caFile,
    }));
    printList(rows, CONTEXTS, outputOptionsOf(command));
  });
}

function registerShow(parent: Command): void {
  const command = parent.command('show').description('what a command would use now, and where that is from');
  addOutputOptions(command, { list: false });
  command.action(() => {
    const { address, credentials } = chooseTarget(command.optsWithGlobals<TargetFlags>());
    const tokens = credentials.map(({ source }) => source);
    const shown = { address: address.url, source: address.source, tokens };
    print(
      renderOne(shown, outputOptionsOf(command), () =>
        renderFields([
          ['address', `${address.url} (${address.source})`],
          ['token', tokens.join(', else ') || 'none'],
        ]),
      ),
    );
  });
}
