/** `morch secret`: sets, lists and removes secrets. A value is read from a file or standard input, never from arguments. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { MorchError } from '../../contract/errors';
import { SECRET_BYTES, type Secret } from '../../contract/secrets';
import { clientOf } from '../client';
import { askHidden } from '../hidden';
import { addOutputOptions, outputOptionsOf, printList, say } from '../output';
import { SECRETS } from '../tables';

const NEWLINE = 10;

export function registerSecret(program: Command): void {
  const command = program
    .command('secret')
    .description('set, list and remove secrets that workloads are given')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch secret set db.password                    asks for it\n' +
        '  $ printf %s "$PASSWORD" | morch secret set db.password\n' +
        '  $ morch secret set tls.key --from-file ./server.key\n  $ morch secret list\n  $ morch secret rm tls.key\n' +
        '  $ morch submit ./web.sh --secret-env DB_PASSWORD=db.password --secret-file server.key=tls.key',
    );
  command
    .command('set')
    .description('set a secret, or give it another value; the value comes from a file, standard input or the terminal')
    .argument('<name>', 'DNS labels with dots between them, such as db.password')
    .option('--from-file <path>', 'the value, byte by byte')
    .action(async (name: string, { fromFile }: { fromFile?: string }, self: Command) => {
      const value = await valueFrom(name, fromFile);
      const body = { value: value.toString('base64'), encoding: 'base64' };
      await clientOf(self).put(secretPath(name), body);
      say(`${name}: set; instances that run keep the value they have, a restart gives them this one`);
    });
  const list = command.command('list').description('names and versions; values are never told');
  addOutputOptions(list, { list: true }).action(async () => {
    printList(await clientOf(list).list<Secret>('/secrets', 'secrets'), SECRETS, outputOptionsOf(list));
  });
  command
    .command('rm')
    .description('remove a secret that no workload needs any more')
    .argument('<name>', 'its name')
    .action(async (name: string, _flags: unknown, self: Command) => {
      await clientOf(self).delete(secretPath(name));
      say(`${name}: removed`);
    });
}

const secretPath = (name: string): string => `/secrets/${encodeURIComponent(name)}`;

/** @throws MorchError INVALID_INPUT, which tells nothing of the value */
async function valueFrom(name: string, file: string | undefined): Promise<Buffer> {
  const value = await read(name, file);
  if (value.length === 0) throw new MorchError('INVALID_INPUT', 'The value is empty; nothing was set.');
  if (value.length > SECRET_BYTES) {
    throw new MorchError('INVALID_INPUT', `The value is longer than ${SECRET_BYTES / 1024} KiB; nothing was set.`);
  }
  if (file === undefined && value.at(-1) === NEWLINE) {
    say('note: the value ends in a newline, which is part of it; printf %s leaves it out');
  }
  return value;
}

async function read(name: string, file: string | undefined): Promise<Buffer> {
  if (file === undefined) return process.stdin.isTTY ? askHidden(`value of ${name}: `) : readStdin();
  try {
    return await readFile(file);
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    chunks.push(chunk);
    if (bytes > SECRET_BYTES) break;
  }
  return Buffer.concat(chunks);
}
